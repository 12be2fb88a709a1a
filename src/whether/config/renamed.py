"""Settings that have another name than in an earlier version, so that an old one is answered with the new one."""

RENAMED = {
    "prompts.*.answering": "prompts.*.decoding",
    "tuner.prompt.answering": "tuner.prompt.decoding",
    "checkpoints.*.repeats": "checkpoints.*.repeat_of",
    "tuner.start": "tuner.warm_start",
    "robustness.variations": "robustness.formats",
    "optimise.answerings": "optimise.decodings",
}
"""Path of a setting → its path now; `*` is any one name. A longer path that holds an old one is renamed in that part:
`curve.prompts.knn.answering`, `checkpoints.lora.tuner.start.adapter`."""

MOVED_TARGETS = {
    "whether.prompt.answering.one_of_labels": "whether.prompt.answering.constrained_choice",
    "whether.prompt.answering.structured": "whether.prompt.answering.json_answer",
}
"""`_target_` of an earlier version → its dotted path now."""


def new_path(path: str) -> str | None:
    """Return the path that a setting of an earlier version has now; None if it is not one that was renamed."""
    parts = path.split(".")
    for old, new in RENAMED.items():
        names = old.split(".")
        for start in range(len(parts) - len(names) + 1):
            found = parts[start : start + len(names)]
            if all(name in ("*", part) for name, part in zip(names, found, strict=True)):
                between = iter(part for name, part in zip(names, found, strict=True) if name == "*")
                renamed = [next(between) if name == "*" else name for name in new.split(".")]
                return ".".join([*parts[:start], *renamed, *parts[start + len(names) :]])
    return None
