from dataclasses import replace

import pytest

from tests.shipped_metrics import CONFIGS
from whether.metrics.catalogue import METRICS
from whether.metrics.metric import quality_metrics
from whether.records import Prediction, Task
from whether.score.metrics import latency_metrics
from whether.score.metrics import split_metrics as metrics_of_split


def split_metrics(task: Task, predictions: list[Prediction]) -> dict[str, float | None]:
    return metrics_of_split(task, predictions, quality_metrics(CONFIGS, task.output))


def predicted(target: str, answer: str | None, **changes) -> Prediction:
    made = Prediction(
        id="1", split="dev", output=answer or "?", answer=answer, target=target, score=float(answer == target),
        valid=answer is not None, prompt="p", input_tokens=100, cached_tokens=60, output_tokens=3, seconds=0.5,
    )  # fmt: skip
    return replace(made, **changes)


def test_an_invalid_answer_is_wrong_and_no_label(label_task: Task) -> None:
    answers = [("billing", "billing"), ("tech", None), ("tech", "tech"), ("other", "tech")]
    predictions = [predicted(target, answer) for target, answer in answers]
    metrics = split_metrics(label_task, predictions)
    assert metrics["accuracy"] == 0.5
    assert metrics["valid_rate"] == 0.75
    # F1: billing 1, tech 2·1/(2·1 + 1 wrong answer + 1 missed) = 1/2, other 0
    assert metrics["macro_f1"] == pytest.approx((1 + 1 / 2 + 0) / 3)


def test_a_label_that_does_not_occur_is_left_out_of_macro_f1(label_task: Task) -> None:
    metrics = split_metrics(label_task, [predicted("billing", "billing"), predicted("tech", "tech")])
    assert metrics["macro_f1"] == 1.0
    assert split_metrics(label_task, [predicted("billing", None)])["macro_f1"] == 0.0


def test_tokens_and_seconds_are_means(label_task: Task) -> None:
    predictions = [predicted("tech", "tech"), predicted("tech", "tech", cached_tokens=0, seconds=1.5)]
    metrics = split_metrics(label_task, predictions)
    assert metrics["computed_tokens"] == 70
    assert metrics["input_tokens"] == 100
    assert metrics["seconds_per_request"] == 1.0
    assert metrics.keys() <= {*METRICS, *CONFIGS}


def test_tokens_that_a_server_did_not_tell_are_none_and_not_zero(label_task: Task) -> None:
    predictions = [predicted("tech", "tech"), predicted("tech", "tech", cached_tokens=None, output_tokens=None)]
    metrics = split_metrics(label_task, predictions)
    assert metrics["input_tokens"] == 100
    assert metrics["computed_tokens"] is None
    assert metrics["output_tokens"] is None


def test_a_row_that_was_not_answered_is_wrong_and_says_nothing_else(label_task: Task) -> None:
    failed = predicted(
        "tech", None, output="", input_tokens=None, cached_tokens=None, output_tokens=None, seconds=0.0, error="why"
    )
    metrics = split_metrics(label_task, [predicted("tech", "tech"), predicted("tech", None), failed, failed])
    assert (metrics["accuracy"], metrics["failed_rate"], metrics["valid_rate"]) == (0.25, 0.5, 0.5)
    assert (metrics["input_tokens"], metrics["output_tokens"], metrics["seconds_per_request"]) == (100, 3, 0.5)
    nothing = split_metrics(label_task, [failed])
    assert (nothing["accuracy"], nothing["failed_rate"]) == (0.0, 1.0)
    assert (nothing["valid_rate"], nothing["input_tokens"], nothing["seconds_per_request"]) == (None, None, None)
    assert latency_metrics([]) == {}


def test_text_and_json_have_exact_match_only(label_task: Task) -> None:
    metrics = split_metrics(replace(label_task, output="text", labels=[]), [predicted("a", "a"), predicted("b", "c")])
    assert metrics["exact_match"] == 0.5
    assert not {"accuracy", "macro_f1"} & metrics.keys()


def test_latency() -> None:
    assert latency_metrics([1.0, 2.0, 3.0]) == {"latency_p50": 2.0, "latency_p95": pytest.approx(2.9)}
