"""What the arms of served models would send, and what that costs at most; nothing is sent.

python -m pipelines.estimate [override ...]
"""

import yaml

from whether import entry
from whether.config import check, compose, load
from whether.errors import ConfigError
from whether.prompt.arm import estimate_arm
from whether.prompt.models import base_counter
from whether.records import ARTIFACTS, Task, read_json
from whether.report.terminal import print_table
from whether.served.budget import BudgetedModel

HEADS = ("arm", "requests", "tokens in", "tokens out", "USD")


def main(argv: list[str]) -> int:
    """Print each arm, and for each model what is spent and allowed. The status is 1 where that is not enough."""
    config = check(yaml.safe_load(compose(argv))) if argv else load()
    served = {name: checkpoint.served for name, checkpoint in config.checkpoints.items() if checkpoint.served}
    if not served:
        raise ConfigError("no served model is selected: name one, as in `checkpoint=[base,served]` (docs/served.md)")
    prepared = read_json(ARTIFACTS / "prepare" / "task.json", Task)
    if prepared.name != config.task.name:
        raise ConfigError(
            f"artifacts/prepare holds the task {prepared.name}, and the settings name {config.task.name}: run"
            " `dvc repro prepare` with these settings first"
        )
    rows, beyond = [], False
    for checkpoint, settings in served.items():
        total = 0.0
        for name, prompt in config.prompts.items():
            found = estimate_arm(
                checkpoint, name, prompt, settings, config.seed, artifacts=ARTIFACTS, robustness=config.robustness
            )
            total += found.usd
            counts = [f"{count:,}" for count in (found.requests, found.input_tokens, found.output_tokens)]
            rows.append([f"{checkpoint}-{name}", *counts, f"{found.usd:.4f}"])
        spent = BudgetedModel(settings, checkpoint, base_counter(ARTIFACTS / "model")).spent()
        limit = "no limit" if settings.max_cost is None else f"of {settings.max_cost:g} allowed"
        rows.append([f"{checkpoint}: spent so far", "", "", "", f"{spent:.4f}"])
        rows.append([f"{checkpoint}: afterwards", "", "", limit, f"{spent + total:.4f}"])
        beyond |= settings.max_cost is not None and spent + total > settings.max_cost
    print_table(HEADS, rows, left=1)
    print("\ntokens in: about, by the base model's tokenizer; tokens out and USD: at most; nothing was sent")
    return int(beyond)


if __name__ == "__main__":
    entry.run(main)
