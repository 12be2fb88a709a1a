"""conf/ becomes params.yaml.

    python -m pipelines.compose [override ...]     write params.yaml
    python -m pipelines.compose --check            fail if params.yaml is not what conf/ says

DVC runs it as the first stage. It leaves the file alone where somebody else composed it: `dvc exp run -S` (DVC sets
DVC_EXP_NAME) and `whether run` (sets WHETHER_COMPOSED).
"""

import os

import yaml

from whether import entry
from whether.config import PARAMS, complete_params, compose, write_params
from whether.errors import ConfigError


def main(argv: list[str]) -> None:
    """Compose, or check."""
    if not argv and (os.environ.get("DVC_EXP_NAME") or os.environ.get("WHETHER_COMPOSED")):
        complete_params()
        return
    text = compose([argument for argument in argv if argument != "--check"])
    old = PARAMS.read_text(encoding="utf-8") if PARAMS.exists() else ""
    if "--check" in argv:
        if text != old:
            raise ConfigError(f"{PARAMS} is not what conf/ says: run `python -m pipelines.compose` and commit it")
        return
    write_params(text)
    if not argv and _grid(old) != _grid(text):
        raise ConfigError(
            "the set of checkpoints, prompts or points of the learning curve changed, and DVC read the old one: run"
            " `dvc repro` again"
        )


def _grid(text: str) -> object:
    values = yaml.safe_load(text) or {}
    curve = values.get("curve", {})
    return values.get("arms"), curve.get("labels"), curve.get("seeds")


if __name__ == "__main__":
    entry.run(main)
