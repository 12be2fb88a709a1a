from pathlib import Path

import pytest

from tests.retrain.conftest import retraining_run
from whether.records import Finding, MeanScore
from whether.retrain.plots import plot_runs


@pytest.mark.heavy
def test_runs_are_drawn_the_same_way_each_time(tmp_path: Path) -> None:
    runs = [
        retraining_run(
            number,
            outcome="promoted" if number == 3 else "no_trigger",
            champion_new=None if number == 2 else MeanScore(0.9, 0.8, 0.95, 30),
            findings=[Finding("input_drift", number == 3, "", 10.0**number, 100.0), Finding("constraint", False, "")],
        )
        for number in range(1, 9)
    ]
    for name in ("a.svg", "b.svg"):
        plot_runs(runs, tmp_path / name, unchanged=[0.8, None] + [0.7] * 6)
    text = (tmp_path / "a.svg").read_text()
    assert text == (tmp_path / "b.svg").read_text()
    for words in ("never retrained", "champion of the time", "promoted", "input_drift"):
        assert words in text
    assert "constraint" not in text


@pytest.mark.heavy
def test_a_first_run_without_anything(tmp_path: Path) -> None:
    plot_runs([retraining_run(1)], tmp_path / "a.svg")
    assert "score on the run" in (tmp_path / "a.svg").read_text()
