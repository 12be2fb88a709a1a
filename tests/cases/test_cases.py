"""Small inputs with the troubles that people report of tools like this one, each with what is right (README.md)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from judge import judge, seen
from scratch import Scratch

HERE = Path(__file__).parent


def cases() -> Iterator[Any]:
    """Every case of every kind."""
    for file in sorted(HERE.glob("*/cases.yaml")):
        kind = yaml.safe_load(file.read_text(encoding="utf-8"))
        for case in kind["cases"]:
            yield pytest.param(file.parent, case, id=case["id"])


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory, warm: Path) -> Scratch:
    return Scratch(tmp_path_factory.mktemp("cases"), warm / "python")


@pytest.mark.real(minutes=3)
@pytest.mark.parametrize(("kind", "case"), list(cases()))
def test_a_case(kind: Path, case: dict[str, Any], scratch: Scratch) -> None:
    done = scratch.run(kind, case)
    wrong = judge(case["right"], done, done.facts, case)
    assert not wrong, f"{case['what']}\n" + "\n".join([*wrong, f"seen: {seen(done, done.facts)}", done.text[-3000:]])
