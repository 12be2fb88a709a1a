"""The price of a served model by a list, as it goes into conf/checkpoint/<name>.yaml.

python -m pipelines.price <model> [<base_url>]
"""

import dataclasses
from datetime import UTC, datetime

import yaml

from whether import entry
from whether.errors import ConfigError
from whether.served.prices import listed_price


def main(argv: list[str]) -> None:
    """Print it."""
    if not 1 <= len(argv) <= 2:
        raise ConfigError("expected a model and perhaps its address: python -m pipelines.price gpt-4o-mini")
    found = listed_price(argv[0], argv[1] if len(argv) > 1 else None, datetime.now(UTC).date())
    print(f"# {found.model}, {found.provider}")
    for remark in found.remarks:
        print(f"# {' '.join(remark.split())}")
    fields = {name: value for name, value in dataclasses.asdict(found.price).items() if value is not None}
    print(yaml.safe_dump({"price": fields}, sort_keys=False, allow_unicode=True, width=200), end="")


if __name__ == "__main__":
    entry.run(main)
