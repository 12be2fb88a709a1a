"""Settings that have another name now: an old one is an error that names the new one."""

RENAMED = {
    "retrain.recent": "retrain.holdout_share",
    "retrain.window": "retrain.holdout_rows",
    "retrain.label_least": "retrain.min_label_rows",
    "retrain.unlabelled": "retrain.max_unlabelled_rows",
    "retrain.gate.recent_least": "retrain.gate.min_recent_rows",
    "retrain.triggers.<any>.least": "retrain.triggers.<any>.min_rows",
    "retrain.triggers.<any>.most": "retrain.triggers.<any>.max_rows",
}
"""Dotted path of the old setting → of the new one. `<any>` is any one name, in order the same ones in both; a setting
below an old one is below the new one."""
ANY = "<any>"


def new_name(path: str) -> str | None:
    """Return the present dotted path of a setting that was renamed; None for one that was not."""
    parts = path.split(".")
    for old, new in RENAMED.items():
        pattern = old.split(".")
        head, below = parts[: len(pattern)], parts[len(pattern) :]
        if len(head) == len(pattern) and all(wanted in (ANY, part) for wanted, part in zip(pattern, head, strict=True)):
            names = (part for wanted, part in zip(pattern, head, strict=True) if wanted == ANY)
            return ".".join([next(names) if part == ANY else part for part in new.split(".")] + below)
    return None
