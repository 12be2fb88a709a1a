"""In which order tests run, and which of them stay together in one lane."""

import datetime
import os
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
# Lanes inherit it. The order of another day: TEST_SEED=20261129 make test
SEED = int(os.environ.setdefault("TEST_SEED", f"{datetime.datetime.now(datetime.UTC):%Y%m%d}"))


def pytest_report_header() -> str:
    """Say what the order was drawn with."""
    return f"order: TEST_SEED={SEED}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Unit tests first, then what runs real parts, the longest module first; otherwise in an order of the day.

    `real(minutes=...)` says how long a module's other tests take, so that no long group is left for the end. A `story`
    keeps its order.
    """
    units: dict[str, list[pytest.Item]] = defaultdict(list)
    others: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        groups = others if minutes(item) is not None else units
        groups[item.path.relative_to(ROOT).as_posix()].append(item)
    drawn = random.Random(SEED)
    for groups in (units, others):
        for group in groups.values():
            if not group[0].get_closest_marker("story"):
                drawn.shuffle(group)
    first, then = list(units.values()), list(others.values())
    drawn.shuffle(first)
    drawn.shuffle(then)
    then.sort(key=lambda group: -max(minutes(item) or 0 for item in group))
    items[:] = [item for group in (*first, *then) for item in group]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A lane takes all unit tests of a module, or all its other tests, at a time: they share what fixtures make.

    xdist's own groups (`--dist loadgroup`) do nothing with pytest 9.2, which computes node ids at each look.
    """
    from xdist.scheduler import LoadScopeScheduling

    class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]
        groups: dict[str, str]

        def _split_scope(self, nodeid: str) -> str:
            """Return the stretch of the order, all of one module, in which a test stands."""
            if not hasattr(self, "groups"):
                self.groups, number, last = {}, 0, ""
                for test in self.collection:
                    module = test.partition("::")[0]
                    number, last = number + (module != last), module
                    self.groups[test] = f"{number} {module}"
            return self.groups[nodeid]

    return GroupScheduling(config, log)


def minutes(item: pytest.Item) -> float | None:
    """Return how long the marks of a test say that its module's such tests take; None for a unit test."""
    marks = [mark for name in ("real", "e2e", "slow") for mark in item.iter_markers(name)]
    return max(float(mark.kwargs.get("minutes", 0)) for mark in marks) if marks else None
