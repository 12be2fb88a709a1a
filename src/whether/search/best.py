"""The best trial, and its settings as a checkpoint of conf/checkpoint/."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from whether.config import CONF
from whether.errors import RecordError
from whether.records import SearchRecord, TrialRecord, read_json, read_jsonl, write_text
from whether.search.space import Space

_MARK = "# Found by `"


def best_trial(trials: Sequence[TrialRecord]) -> TrialRecord | None:
    """Return the complete trial with the highest value, the earliest of equal ones; None if there is none."""
    complete = [trial for trial in trials if trial.state == "complete"]
    return max(complete, key=lambda trial: (trial.value or 0.0, -trial.number), default=None)


def checkpoint_yaml(record: SearchRecord, trials: Sequence[TrialRecord], best: TrialRecord, space: Space) -> str:
    """Return the best settings as a file of conf/checkpoint/. All values are fixed: they belong together."""
    name = f"{record.checkpoint}_searched"
    tuner = space.tuner(best.settings)
    lines = [
        f"# @package checkpoints.{name}",
        f"{_MARK}whether search {record.checkpoint}` for {record.task} with {record.model}:"
        f" trial {best.number + 1}, the best of {len(trials)}.",
        *_comment(record, trials, best),
        "tuner:",
        "  adapter:",
    ]
    adapter = dict(tuner.adapter)
    lines += [_line(4, key, value, space, f"adapter.{key}") for key, value in adapter.items()]
    fields = [key for key in tuner.__dataclass_fields__ if key != "adapter"]
    lines += [_line(2, key, getattr(tuner, key), space, key) for key in fields]
    return "\n".join(lines) + "\n"


def _comment(record: SearchRecord, trials: Sequence[TrialRecord], best: TrialRecord) -> list[str]:
    found = (
        f"# {best.dev_exact:.1%} of {record.dev_examples} dev examples answered exactly, dev loss {best.dev_loss:.3g}"
    )
    if _is_default(best, record):
        return [f"{found}. These are the settings of {record.checkpoint} itself: no trial was better."]
    own = next((trial for trial in trials if _is_default(trial, record)), None)
    compared = ""
    if own is not None and own.dev_exact is not None:
        compared = f"; with the settings of {record.checkpoint}: {own.dev_exact:.1%}, {own.dev_loss:.3g}"
    return [
        f"{found}{compared}.",
        "# That is the best of many on dev, so a little lucky: only test says how good it is.",
        f"#   whether run checkpoint=[base,{record.checkpoint},{record.checkpoint}_searched]",
    ]


def improved(folder: Path) -> bool:
    """Return whether the best trial of a search has other settings than the checkpoint it began with."""
    record = read_json(folder / "search.json", SearchRecord)
    best = best_trial(read_jsonl(folder / "trials.jsonl", TrialRecord))
    return best is not None and not _is_default(best, record)


def _is_default(trial: TrialRecord, record: SearchRecord) -> bool:
    """Return whether a trial was run with the checkpoint's own settings."""
    flat = record.tuner | {f"adapter.{key}": value for key, value in record.tuner["adapter"].items()}
    return all(flat.get(name) == value for name, value in trial.settings.items())


def _line(indent: int, key: str, value: Any, space: Space, name: str) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("...\n").strip()
    searched = f"   # searched: {space.parameters[name]}" if name in space.parameters else ""
    return f"{' ' * indent}{key}: {text}{searched}"


def write_checkpoint(name: str, text: str, conf: Path = CONF) -> Path:
    """Write conf/checkpoint/<name>_searched.yaml. Raises RecordError rather than replace a file written by hand."""
    path = conf / "checkpoint" / f"{name}_searched.yaml"
    if path.exists() and _MARK not in path.read_text(encoding="utf-8"):
        raise RecordError(f"{path} is there and was not written by a search: rename it, or copy best.yaml by hand")
    write_text(path, text)
    return path
