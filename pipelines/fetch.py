"""All that a run reads from outside, fetched and checked: data/, the packages of data and model, hub data sets.

python -m pipelines.fetch [override ...]     for params.yaml, or for the settings that the overrides give
"""

import yaml

from whether import entry
from whether.config import check, compose, load
from whether.sources.fetch import fetch_all


def main(argv: list[str]) -> None:
    """Fetch what is missing, check what is there."""
    fetch_all(check(yaml.safe_load(compose(argv))) if argv else load())


if __name__ == "__main__":
    entry.run(main)
