"""Labels, file names and reasons on pages and in pictures."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.retrain.conftest import retraining_run
from whether.config import check, compose  # noqa: F401
from whether.records import Champion
from whether.report.plots import render_svg
from whether.retrain.page import write_page
from whether.retrain.plots import plot_runs

HOSTILE = [
    "<script>alert(1)</script>",
    "$\\frac{$",
    "$x$ and $y",
    "a\x1b[31m\0b",
    "\ud83d",
    "]]>&amp;\"'",
    "\u202etxt",
    "",
]


@pytest.mark.heavy
@pytest.mark.parametrize("label", HOSTILE)
def test_a_label_in_a_picture_is_text(label: str) -> None:
    from whether.printing.pictures import plain

    def paint(axes: object) -> None:
        axes.set_yticks([0, 1], [plain(label), "b"])  # type: ignore[attr-defined]
        axes.set_title(plain(label))  # type: ignore[attr-defined]

    svg = render_svg("name", paint)
    tags = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(svg).iter()}
    assert "script" not in tags
    svg.encode()


@pytest.mark.heavy
def test_a_retraining_page_shows_names_as_text(tmp_path: Path) -> None:
    attack = "<img src=x onerror=alert(1)>\"'{{ 7*7 }}"
    run = retraining_run(1, task=attack, reason=attack, attention=[attack], champion_arm=attack)
    plot_runs([run], tmp_path / "runs.svg")
    champion = Champion(attack, None, "2026-02-03T02:00:00+00:00", 1, attack)
    write_page([run], champion, (tmp_path / "runs.svg").read_text(), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "<img" not in page
    assert "&lt;img" in page
    assert "{{ 7*7 }}" in page
