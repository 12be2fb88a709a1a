"""`whether preview`: what a prompt asks of the first dev rows, in the model's chat template; no model runs."""

import shlex
from collections.abc import Sequence

import yaml

from whether.config import check, compose
from whether.errors import ConfigError, RecordError, near_matches
from whether.printing.terminal import say
from whether.prompt.preview import preview
from whether.records import ARTIFACTS, Task, read_json

PREPARED = ARTIFACTS / "prepare" / "task.json"
MODEL = ARTIFACTS / "model" / "config.json"


def show_prompt(prompt: str, overrides: Sequence[str], rows: int) -> None:
    """Print the first `rows` rows of dev as a prompt, a file of conf/prompt, asks them. Raises ConfigError, and
    RecordError where there are no rows yet."""
    config = check(yaml.safe_load(compose([f"prompt=[{prompt}]", *overrides])))
    if prompt not in config.prompts:
        raise ConfigError(f"no prompt {prompt!r} in these settings{near_matches(prompt, config.prompts)}")
    _require_rows(config.task.name, overrides)
    for text in preview(prompt, config.prompts[prompt], config.seed, rows=rows, artifacts=ARTIFACTS):
        say(text)


def _require_rows(task: str, overrides: Sequence[str]) -> None:
    """Raise RecordError that says how to get rows soonest, where there are none yet, or not of the task asked for."""
    missing = next((file for file in (PREPARED, MODEL) if not file.exists()), None)
    chosen = any(override.startswith("task=") for override in overrides)  # without it: whatever the last run prepared
    there = task if missing or not chosen else read_json(PREPARED, Task).name
    if missing is None and there == task:
        return
    steps = ["whether fetch", "dvc repro --single-item model prepare"]
    if overrides:
        steps.insert(0, f"python -m pipelines.compose {shlex.join(overrides)}")
    found = f"{missing} is missing" if missing else f"{PREPARED.parent} holds rows of {there}, not of {task}"
    raise RecordError(
        f"{found}: a preview needs the task's rows and the model's chat template, which `{' && '.join(steps)}` makes;"
        " no model runs"
    )
