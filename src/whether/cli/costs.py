"""`whether estimate` and `whether price`: what asking a served model costs. Nothing is sent."""

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING

import yaml

from whether.cli.settings import last_or_composed
from whether.config import ServedConfig
from whether.errors import ConfigError
from whether.printing.terminal import say
from whether.records import ARTIFACTS, Request, Task, read_json
from whether.report.terminal import print_table

if TYPE_CHECKING:
    from whether.served.budget import CountTokens

HEADS = ("arm", "requests", "tokens in", "tokens out", "USD")


def estimate(overrides: Sequence[str]) -> int:
    """Print what each arm of a served model would send, and for each model what is spent and allowed.

    Returns 1 where that is not enough, else 0. Raises ConfigError where no served model is selected, or where what is
    prepared is another task.
    """
    from whether.generate.load import base_counter
    from whether.prompt.requests import all_requests, read_inputs

    config = last_or_composed(overrides)
    served = {name: checkpoint.served for name, checkpoint in config.checkpoints.items() if checkpoint.served}
    if not served:
        raise ConfigError("no served model is selected: name one, as in `checkpoint=[base,served]` (docs/served.md)")
    prepared = read_json(ARTIFACTS / "prepare" / "task.json", Task)
    if prepared.name != config.task.name:
        raise ConfigError(
            f"artifacts/prepare holds the task {prepared.name}, and the settings name {config.task.name}: run"
            " `dvc repro prepare` with these settings first"
        )
    inputs, count = read_inputs(ARTIFACTS / "prepare"), base_counter(ARTIFACTS / "model")
    requests = {
        name: list(chain(*all_requests(name, prompt, config.seed, inputs, config.robustness)))
        for name, prompt in config.prompts.items()
    }
    rows, beyond = [], False
    for checkpoint, settings in served.items():
        lines, exceeds = _estimate_model(checkpoint, settings, requests, count)
        rows += lines
        beyond |= exceeds
    print_table(HEADS, rows, left=1)
    print("\ntokens in: about, by the base model's tokenizer; tokens out and USD: at most; nothing was sent")
    return int(beyond)


def _estimate_model(
    name: str, settings: ServedConfig, requests: Mapping[str, Sequence[Request]], count: "CountTokens"
) -> tuple[list[list[str]], bool]:
    """Return a served model's lines of the table, one for each prompt, and whether they exceed what it may cost."""
    from whether.served.budget import BudgetedModel

    lines, total, model = [], 0.0, BudgetedModel(settings, name, count)
    for prompt, asked in requests.items():
        found = model.estimate(asked)
        total += found.usd
        counts = [f"{number:,}" for number in (found.requests, found.input_tokens, found.output_tokens)]
        lines.append([f"{name}-{prompt}", *counts, f"{found.usd:.4f}"])
    spent = model.spent()
    limit = "no limit" if settings.max_cost is None else f"of {settings.max_cost:g} allowed"
    lines.append([f"{name}: spent so far", "", "", "", f"{spent:.4f}"])
    lines.append([f"{name}: afterwards", "", "", limit, f"{spent + total:.4f}"])
    return lines, settings.max_cost is not None and spent + total > settings.max_cost


def price(model: str, url: str | None) -> None:
    """Print a served model's price by the packaged list, as it goes into conf/checkpoint/<name>.yaml."""
    from whether.served.prices import listed_price

    found = listed_price(model, url, datetime.now(UTC).date())
    say(f"# {found.model}, {found.provider}")
    for remark in found.remarks:
        say(f"# {' '.join(remark.split())}")
    fields = {name: value for name, value in dataclasses.asdict(found.price).items() if value is not None}
    print(yaml.safe_dump({"price": fields}, sort_keys=False, allow_unicode=True, width=200), end="")
