"""Habits of the code that are easily lost: one name for one thing, one place for one fact."""

import ast
import re
from collections import defaultdict
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "whether"
FILES = {file.relative_to(SOURCE).as_posix(): file.read_text() for file in SOURCE.rglob("*.py")}


def where(pattern: str) -> set[str]:
    """Files of the package in which a regular expression is found."""
    return {name for name, text in FILES.items() if re.search(pattern, text)}


def test_no_two_public_classes_share_a_name() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for name, text in FILES.items():
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(name)
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_how_answers_are_made_is_declared_once() -> None:
    """In `Decoding`, and not as so many arguments of each method."""
    assert where(r"stop: (Sequence|tuple|list)\[str") <= {"records/request.py", "engine/generation.py"}
    assert where(r"sampling: Sampling = ") == {"records/request.py"}
    assert where(r"constraint: Choice \| JsonSchema \| None = ") == {"records/request.py"}


def test_kinds_of_output_are_compared_in_their_room_only() -> None:
    """Elsewhere a method of `OutputKind` says what differs; settings are checked where they are declared."""
    found = where(r"\.output\s*(==|!=|not in\b|in\b)")
    assert {name for name in found if not name.startswith("outputs/")} <= {"config/task.py"}


def test_metrics_of_answers_are_known_in_one_file_only() -> None:
    """Elsewhere they are settings (conf/metric), and a branch on what one is called would leave a user's own out."""
    assert where(r"macro_f1") == {"metrics/quality.py"}
    names = "|".join(file.stem for file in (SOURCE.parents[1] / "conf" / "metric").glob("*.yaml"))
    assert where(rf"""(==|!=|\bin) [(\["]*({names})\b""") == set()
