"""A metric is what an example adds up to, and what the sums mean: its numbers, its bad input, its intervals."""

import sys

import numpy as np
import pytest
from sklearn.metrics import f1_score

from tests.shipped_metrics import CONFIGS, metric
from whether.config import MetricConfig
from whether.errors import ConfigError
from whether.metrics.catalogue import METRICS
from whether.metrics.format import UNITS, format_number
from whether.metrics.metric import mean, measure_quality, metric_of, quality_metrics
from whether.records import MetricInfo, Task
from whether.stats.inference import mean_interval, unbounded_mean_interval
from whether.stats.intervals import InferenceSettings
from whether.stats.totals import estimate_difference, estimate_interval

QUICK = InferenceSettings(resamples=300)
LABELS = ["ask", "buy", "call", "deny", "end", "fetch", "give", "hold", "idle"]
TASK = Task("t", "label", None, "", "", LABELS, None, None, 4)


def length(task, answer, target):
    return [float(len(answer or ""))]


def counts(task, answer, target):
    """Words that both have, words answered, words asked for: of a micro-average over the corpus."""
    answered, asked = set((answer or "").split()), set(target.split())
    return [len(answered & asked), len(answered), len(asked)]


def micro_f1(totals, n):
    return 2 * totals[..., 0] / np.maximum(totals[..., 1] + totals[..., 2], 1)


def own(totals: str, **settings):
    component = {"_target_": f"{__name__}.{totals}"}
    return metric_of("own", MetricConfig(totals=component, label="own", **{"higher_is_better": True} | settings))


def answered(n: int = 120, seed: int = 0) -> tuple[list[str | None], list[str]]:
    rng = np.random.default_rng(seed)
    targets = [LABELS[code] for code in rng.integers(len(LABELS) - 2, size=n)]
    wrong = [None, *LABELS]
    return [text if rng.random() < 0.7 else wrong[rng.integers(len(wrong))] for text in targets], targets


def test_the_first_metric_of_an_output_is_the_share_of_right_answers():
    answers, targets = answered()
    found = measure_quality(quality_metrics(CONFIGS, "label"), TASK, answers, targets)
    assert list(found) == ["accuracy", "macro_f1"]
    assert found["accuracy"] == np.mean([a == t for a, t in zip(answers, targets, strict=True)])
    expected = f1_score(targets, [a or "" for a in answers], labels=LABELS, average="macro", zero_division=np.nan)
    assert found["macro_f1"] == pytest.approx(expected, abs=1e-15)
    assert list(quality_metrics(CONFIGS, "json")) == ["exact_match"]


def test_an_answer_or_target_that_is_no_label_counts_for_no_label():
    macro_f1 = metric("macro_f1")
    totals = macro_f1.table(TASK, [None, "nothing", "ask"], ["ask", "ask", "new"]).reshape(3, 3, -1)
    assert totals[:, 0].sum() == 0
    assert totals[:, 1].sum(0).tolist() == [1.0, *[0.0] * 8]
    assert totals[:, 2].sum(0).tolist() == [2.0, *[0.0] * 8]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("1 / 0", r"own.totals \(in conf/metric/own.yaml\) for the answer 'a' and the target 'b': ZeroDiv"),
        ("0.5", r"expected a list of one number, and it is 0.5"),
        ("[0.5, 0.5]", r"expected a list of one number"),
        ("[float('nan')]", r"expected a list of one number, and it is \[nan\]"),
        ("['x']", r"could not convert string"),
        ("[1.5]", r"1.5 does not lie in \[0, 1\]; a metric of any size needs range: null"),
    ],
)
def test_totals_that_are_no_such_numbers_are_named(returned, message, tmp_path, monkeypatch):
    (tmp_path / "bad_totals.py").write_text(f"def score(task, answer, target):\n    return {returned}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "bad_totals", raising=False)
    component = {"_target_": "bad_totals.score"}
    bad = metric_of("own", MetricConfig(totals=component, label="own", higher_is_better=True))
    with pytest.raises(ConfigError, match=message):
        bad.table(TASK, ["a"], ["b"])


def test_a_metric_of_any_size_has_an_interval_of_its_mean():
    lengths = own("length", range=None, unit="number")
    answers, targets = answered()
    totals = lengths.table(TASK, answers, targets)
    assert lengths.is_mean
    assert lengths.estimate(totals) == np.mean([len(answer or "") for answer in answers])
    assert estimate_interval(totals, lengths, QUICK) == unbounded_mean_interval(totals[:, 0], QUICK)
    assert estimate_interval(np.stack([totals] * 3), lengths, QUICK).low < lengths.estimate(totals)
    assert estimate_interval(np.ones((9, 1)), lengths, QUICK) is None
    assert estimate_interval(np.ones((9, 1)), metric("accuracy"), QUICK) == mean_interval(np.ones(9), QUICK)


@pytest.mark.parametrize("clusters", [None, np.arange(120) // 4], ids=["examples", "groups"])
@pytest.mark.parametrize("bounded", [True, False])
def test_a_statistic_of_the_corpus_has_every_interval_and_test(clusters, bounded):
    value = {"_target_": f"{__name__}.micro_f1"}
    micro = own("counts", value=value, range=(0.0, 1.0) if bounded else None)
    assert not micro.is_mean
    settings = QUICK._replace(clusters=clusters)
    answers, targets = answered()
    better = micro.table(
        TASK, [a if a == t else t for a, t in zip(answers[:60], targets, strict=False)] + answers[60:], targets
    )
    totals = micro.table(TASK, answers, targets)
    low, high = estimate_interval(totals, micro, settings)
    assert low < micro.estimate(totals) < high
    runs = np.stack([totals, better, totals])
    low, high = estimate_interval(runs, micro, settings)
    assert low < micro.estimate(runs) < high
    found = estimate_difference(better, totals, micro, settings)
    assert found.difference == pytest.approx(micro.estimate(better) - micro.estimate(totals))
    assert found.interval.low < found.difference < found.interval.high
    assert found.p_value < 0.05
    assert estimate_difference(totals, totals, micro, settings).p_value == 1
    assert estimate_difference(runs, totals, micro, settings).interval.low < found.difference


def test_a_bounded_corpus_statistic_without_any_spread_has_an_interval_of_some_width():
    micro = own("counts", value={"_target_": f"{__name__}.micro_f1"})
    perfect = micro.table(TASK, LABELS, LABELS)
    low, high = estimate_interval(perfect, micro, QUICK)
    assert low < 0.8
    assert high == pytest.approx(1)
    assert (
        estimate_interval(perfect, own("counts", value={"_target_": f"{__name__}.micro_f1"}, range=None), QUICK) is None
    )


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("totals.sum()", r"own.yaml\) gives shape \(\) for .* expected \(1,\), a value for each leading axis; take"),
        ("totals[..., 7]", r"own.value \(in conf/metric/own.yaml\) for sums of totals of shape \(1, 3\): IndexError"),
        ("totals[..., 0] + 2", r"own.yaml\) is \[11.0\]: expected a number in \[0, 1\]; .* needs range: null"),
        ("totals[..., 0] * float('nan')", r"own.yaml\) is \[nan\]: expected a number"),
    ],
)
def test_values_that_are_no_such_numbers_are_named(returned, message, tmp_path, monkeypatch):
    (tmp_path / "bad_value.py").write_text(f"def score(totals, n):\n    return {returned}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "bad_value", raising=False)
    bad = own("counts", value={"_target_": "bad_value.score"})
    with pytest.raises(ConfigError, match=message):
        bad.estimate(bad.table(TASK, LABELS, LABELS))


def test_every_unit_of_a_measured_metric_is_one_that_reports_know():
    assert {info.unit for info in METRICS.values()} <= UNITS.keys()
    assert {settings.unit for settings in CONFIGS.values()} <= UNITS.keys()
    assert format_number(MetricInfo("length", "number", True, ""), 1234.5) == "1,234"


def test_a_mean_of_totals_is_the_mean():
    assert mean(np.array([[3.0], [4.0]]), np.array([6, 8])).tolist() == [0.5, 0.5]
