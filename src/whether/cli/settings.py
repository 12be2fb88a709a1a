"""Which settings a verb works with."""

from collections.abc import Sequence

import yaml

from whether.config import Config, check, compose, load


def last_or_composed(overrides: Sequence[str]) -> Config:
    """Return the settings of the last run, or, where overrides are given, conf/ with them. Raises ConfigError."""
    return check(yaml.safe_load(compose(overrides))) if overrides else load()
