"""`whether preview`: what a prompt asks of the first dev rows, in the model's chat template; no model runs."""

from collections.abc import Sequence

import yaml

from whether.config import check, compose
from whether.errors import ConfigError, near_matches
from whether.prompt.preview import preview
from whether.records import ARTIFACTS


def show_prompt(prompt: str, overrides: Sequence[str], rows: int) -> None:
    """Print the first `rows` rows of dev as a prompt, a file of conf/prompt, asks them. Raises ConfigError."""
    config = check(yaml.safe_load(compose([f"prompt=[{prompt}]", *overrides])))
    if prompt not in config.prompts:
        raise ConfigError(f"no prompt {prompt!r} in these settings{near_matches(prompt, config.prompts)}")
    for text in preview(prompt, config.prompts[prompt], config.seed, rows=rows, artifacts=ARTIFACTS):
        print(text)
