from dataclasses import asdict
from pathlib import Path

from whether.finetune.results import TrainingHistory, from_log, write_history
from whether.records import Evaluation, Step, read_jsonl

STEPS = [Step(n, n / 2, 1 / n, 1e-3, 0.5, 100, 40, 0.1, 4, 2e9, None) for n in (1, 2, 3, 4)]
EVALUATIONS = [Evaluation(n, n / 2, 2 / n, 0.5, 0.25, 0.3, None, 1000, None) for n in (2, 4)]


def test_lines_are_in_the_order_of_events(tmp_path: Path) -> None:
    write_history(TrainingHistory(STEPS, EVALUATIONS), tmp_path)
    lines = read_jsonl(tmp_path / "history.jsonl")
    assert lines == [asdict(item) for item in (*STEPS[:2], EVALUATIONS[0], *STEPS[2:], EVALUATIONS[1])]
    assert (tmp_path / "loss.csv").read_text().splitlines() == [
        "step,split,loss", "1,train,1.0", "2,train,0.5", f"3,train,{1 / 3}", "4,train,0.25", "2,dev,1.0", "4,dev,0.5",
    ]  # fmt: skip


def test_the_plot_has_the_same_bytes_each_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_history(TrainingHistory(STEPS, EVALUATIONS), tmp_path / name)
    assert (tmp_path / "a" / "loss.svg").read_bytes() == (tmp_path / "b" / "loss.svg").read_bytes()


def test_what_is_neither_step_nor_evaluation_is_left_out() -> None:
    assert from_log([{"train_runtime": 3.0, "step": 4}]) == TrainingHistory([], [])
