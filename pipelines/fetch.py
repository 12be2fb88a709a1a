"""All that a run reads from outside, fetched and checked: data/, the packages of data and model, hub data sets.

python -m pipelines.fetch
"""

from whether import entry
from whether.config import load
from whether.sources.ensure import ensure


def main(_: list[str]) -> None:
    """Fetch what is missing, check what is there."""
    ensure(load())


if __name__ == "__main__":
    entry.run(main)
