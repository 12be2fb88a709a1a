"""The best prompt as a file to read and edit."""

from pathlib import Path
from typing import Any

import yaml

from whether.config import BASE, CONF
from whether.errors import RecordError
from whether.records import CandidateRecord, OptimiseRecord, write_text

_MARK = "# Found by `"


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as a block."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def prompt_name(checkpoint: str) -> str:
    """Return how the prompt of a checkpoint is called."""
    return "optimised" if checkpoint == BASE else f"optimised_{checkpoint}"


def prompt_yaml(record: OptimiseRecord, best: CandidateRecord) -> str:
    """Return the best candidate as a file of conf/prompt/."""
    name = prompt_name(record.checkpoint)
    rival = (
        "" if record.by_hand is None else f"; the best written by hand, {record.by_hand}: {record.by_hand_score:.1%}"
    )
    lines = [
        f"# @package prompts.{name}",
        f"{_MARK}whether optimise {record.checkpoint}` for {record.task} with {record.model}: {best.name}.",
        f"# {record.best_score:.1%} of {record.dev_examples} dev examples{rival}.",
        f"# That is the best of {record.candidates} on dev, so a little lucky: only test says how good it is.",
        f"#   whether run prompt=[zero_shot,few_shot,knn,{name}]",
    ]
    kept: dict[str, Any] = {key: best.prompt[key] for key in ("strategy", "decoding", "labels_needed")}
    kept["search_seconds"] = round(record.seconds, 1)
    if record.reflector_usd:
        kept["search_usd"] = round(record.reflector_usd, 6)
    return "\n".join(lines) + "\n" + yaml.dump(kept, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def write_prompt(checkpoint: str, text: str, conf: Path = CONF) -> Path:
    """Write conf/prompt/<name>.yaml. Raises RecordError rather than replace a file that was written by hand."""
    path = conf / "prompt" / f"{prompt_name(checkpoint)}.yaml"
    if path.exists() and _MARK not in path.read_text(encoding="utf-8"):
        raise RecordError(f"{path} is there and was not written by a search: rename it, or copy best.yaml by hand")
    write_text(path, text)
    return path
