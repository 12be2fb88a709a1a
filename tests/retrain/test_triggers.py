"""Every trigger that is shipped, with its YAML's thresholds."""

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest

from tests.retrain.conftest import NOW, bundle, evidence, retraining_run
from whether.config import ConstraintConfig
from whether.records import Champion, Finding, sha256_json
from whether.retrain import triggers
from whether.retrain.triggers import ObservedRow
from whether.stats.sequential import p_value_e_process

WORDS = [*"sun rain snow wind fog hail storm frost heat cloud".split(), *"will there be any soon".split()]  # noqa: SIM905
OTHER = [*"song album band tune singer".split(), *"play me that one now".split()]  # noqa: SIM905


def items(run_number, count, words=WORDS, labels=("a", "b"), start=0):
    random = np.random.default_rng((run_number, start))
    return [
        ObservedRow(
            " ".join(random.choice(words, random.integers(3, 8))), str(random.choice(labels)), run_number,
            run_number, f"{run_number}-{start + number}",
        )
        for number in range(count)
    ]  # fmt: skip


def evaluated(config, name, known):
    return triggers.evaluate(replace(known, config=replace(known.config, retrain=config.retrain)), name)


def test_every_trigger_that_is_shipped_is_tested(config):
    assert set(config.retrain.triggers) == {
        "new_labels", "age", "input_drift", "length_drift", "vocabulary_drift", "label_drift", "quality_drop",
        "constraint", "changed",
    }  # fmt: skip


def test_new_labels(config):
    known = [*items(0, 300), *items(1, 50), *items(2, 49)]
    found = evaluated(config, "new_labels", evidence(config, known, [retraining_run(1)]))
    assert (found.fired, found.statistic, found.threshold) == (False, 99, 100)
    more = [*known, *items(2, 1, start=49), ObservedRow("without", None, 2, 0, "x")]
    assert evaluated(config, "new_labels", evidence(config, more, [retraining_run(1)])).fired
    after = evidence(config, more, [retraining_run(1, challenger_trained=True)])
    assert evaluated(config, "new_labels", after).statistic == 50


@pytest.mark.parametrize(("days", "fires"), [(89.9, False), (90.1, True), (-5, False)])
def test_age(config, days, fires):
    since = (NOW - timedelta(days=days)).isoformat()
    known = evidence(config, [], [], champion=Champion("a", None, since, 0, ""))
    assert evaluated(config, "age", known).fired == fires
    tried = replace(known, runs=[retraining_run(20, challenger_trained=True)])
    assert not evaluated(config, "age", tried).fired
    assert not evaluated(config, "age", replace(known, champion=None, bundle=None)).fired


def series(config, name, rows_of, runs):
    """Evaluate one trigger in run after run."""
    known, past = items(0, 150), []
    for number in range(1, runs + 1):
        known = [*known, *rows_of(number)]
        found = evaluated(config, name, evidence(config, known, past))
        past.append(retraining_run(number, findings=[found]))
        if found.fired:
            return number, past
    return None, past


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["length_drift", "vocabulary_drift", "label_drift"])
def test_the_p_values_of_a_quiet_series_are_independent(config, name):
    """Also where a run is compared with a sample of many earlier rows: one sample for all runs would fail here."""
    setting = {**config.retrain.triggers[name], "max_rows": 20, "permutations": 99}
    config = replace(config, retrain=replace(config.retrain, triggers={name: setting}))
    length, count = 60, 30
    means = []
    for number in range(count):
        random, known, past = np.random.default_rng(number), [], []
        for place in range(length + 1):
            texts = [" ".join(random.choice(60, random.integers(2, 9)).astype(str)) for _ in range(12)]
            labels = random.choice(["a", "b", "c"], 12, p=[0.6, 0.3, 0.1])
            known += [
                ObservedRow(text, str(label), place, place, f"{sha256_json(f'{number} {place} {row}')}")
                for row, (text, label) in enumerate(zip(texts, labels, strict=True))
            ]
            if place:
                seeded = replace(config, seed=number)
                found = triggers.evaluate(evidence(seeded, known, past), name)
                past.append(retraining_run(place, findings=[found]))
        means.append(np.mean([one.findings[0].p_value for one in past]))
    # Of independent uniform p-values the sum of squares is chi-square: 53.7 is its 99.5% point for 30 series.
    scaled = (np.array(means) - 0.5) / np.sqrt(1 / 12 / length)
    assert (scaled**2).sum() < 53.7


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["input_drift", "length_drift", "vocabulary_drift", "label_drift"])
def test_no_drift_no_alarm(config, name):
    assert series(config, name, lambda number: items(number, 12), 15)[0] is None


@pytest.mark.parametrize(
    ("name", "drifted"),
    [
        ("input_drift", lambda number: items(number, 12, OTHER)),
        ("length_drift", lambda number: [replace(item, text=item.text + 9 * " more") for item in items(number, 12)]),
        ("vocabulary_drift", lambda number: items(number, 12, [*WORDS, *(f"new{number}{n}" for n in range(15))])),
        ("label_drift", lambda number: items(number, 12, labels=("a", "b", "c", "c", "c"))),
    ],
)
def test_drift_is_found_within_runs_and_is_normal_afterwards(config, name, drifted):
    def rows_of(number):
        return items(number, 12) if number < 6 else drifted(number)

    fired, past = series(config, name, rows_of, 16)
    assert fired is not None
    assert 6 <= fired <= 13
    # A challenger was made for it: what came with the drift is now what new rows are compared with.
    past[-1] = replace(past[-1], challenger_trained=True)
    known = [row for number in range(1, fired + 1) for row in rows_of(number)]
    known = [*items(0, 150), *known]
    for number in range(fired + 1, fired + 5):
        known = [*known, *rows_of(number)]
        found = evaluated(config, name, evidence(config, known, past))
        if name != "vocabulary_drift":  # there every run has its own words
            assert not found.fired
        past.append(retraining_run(number, findings=[found]))


@pytest.mark.parametrize(("evidence_then", "continues"), [(9.9, True), (10.0, False)])
def test_a_challenger_begins_a_new_series_only_under_strong_evidence(config, evidence_then, continues):
    p_values = [0.5, 0.04, 0.02]
    past = [
        retraining_run(number, findings=[Finding("length_drift", False, "", evidence_then, p_value=p_value)])
        for number, p_value in enumerate(p_values, 1)
    ]
    past[-1] = replace(past[-1], challenger_trained=True)
    known = [row for number in range(5) for row in items(number, 60)]
    found = evaluated(config, "length_drift", evidence(config, known, past))
    series = [*p_values, found.p_value] if continues else [found.p_value]
    assert found.statistic == pytest.approx(p_value_e_process(series))
    assert found.rows == 60


@pytest.mark.parametrize(("fired", "rows"), [(False, 180), (True, 60)])
def test_earlier_answers_count_until_a_drop_was_found(config, fired, rows):
    found = Finding("quality_drop", fired, "", 99.0)
    past = [retraining_run(number, challenger_trained=number == 3, findings=[found]) for number in (1, 2, 3)]
    known = [row for number in range(5) for row in items(number, 60)]
    answered = evaluated(config, "quality_drop", evidence(config, known, past, scores=lambda keys: [1.0] * len(keys)))
    assert answered.rows == rows


def test_few_rows_are_left_for_the_next_run(config):
    known = [*items(0, 100), *items(1, 5)]
    first = evaluated(config, "input_drift", evidence(config, known, []))
    assert (first.p_value, first.rows, first.fired) == (None, 5, False)
    more = [*known, *items(2, 5)]
    second = evaluated(config, "input_drift", evidence(config, more, [retraining_run(1, findings=[first])]))
    assert second.rows == 10
    assert second.p_value is not None


def test_a_run_that_is_repeated_finds_the_same(config):
    known = [*items(0, 100), *items(1, 20)]
    assert evaluated(config, "input_drift", evidence(config, known, [])) == evaluated(
        config, "input_drift", evidence(config, known[::-1], [])
    )


def test_label_drift_of_a_task_without_labels(config):
    text = replace(
        config,
        task=replace(config.task, output="text", output_settings={}, labels=None, definitions={}, instruction=""),
    )
    assert evaluated(config, "label_drift", evidence(text, [], [])).statistic is None


def test_quality_drop(config):
    def known(score, runs):
        rows = [*items(0, 50), *(row for number in range(2, runs + 2) for row in items(number, 10))]
        random = np.random.default_rng(0)
        right = {row.key: float(random.random() < score) for row in rows}

        def scores(keys):
            return [right[key] for key in keys]

        past = []
        for number in range(2, runs + 2):
            upto = [row for row in rows if row.run <= number]
            found = evaluated(config, "quality_drop", evidence(config, upto, past, scores=scores))
            past.append(retraining_run(number, findings=[found]))
        return [found.findings[0] for found in past]

    quiet = known(0.9, 20)
    assert not any(found.fired for found in quiet)
    assert [found.rows for found in quiet] == list(range(10, 210, 10))
    drop = known(0.6, 20)
    first = next(number for number, found in enumerate(drop) if found.fired)
    assert first <= 9


def test_quality_is_not_measured_on_rows_that_the_champion_was_made_with(config):
    asked = []
    known = evidence(
        config, [*items(0, 20), *items(1, 20), *items(2, 7)], [retraining_run(1)],
        scores=lambda keys: asked.extend(keys) or [1.0] * len(keys),
    )  # fmt: skip
    evaluated(config, "quality_drop", known)
    assert len(asked) == 7
    assert not evaluated(config, "quality_drop", replace(known, champion=None, bundle=None)).fired


def test_constraint(config):
    assert evaluated(config, "constraint", evidence(config, [], [])).statistic is None
    for limit, fires in ((2.0, False), (0.5, True)):
        limited = replace(
            config, policy=replace(config.policy, constraints={"latency_p95": ConstraintConfig(max=limit)})
        )
        found = evaluated(config, "constraint", evidence(limited, [], []))
        assert (found.fired, found.statistic) == (fires, pytest.approx(1 / limit))
    assert found.reason == "latency_p95 is 1, at most 0.5 is allowed"


def test_changed(config):
    same = evidence(config, [], [])
    assert not evaluated(config, "changed", same).fired
    other_model = replace(same, model_hash=lambda: "n" * 64)
    found = evaluated(config, "changed", other_model)
    assert found.fired
    assert found.reason == "changed since the champion was made: the base model"
    tried = replace(other_model, runs=[retraining_run(3, challenger_trained=True, findings=[found])])
    assert not evaluated(config, "changed", tried).fired
    again = replace(tried, model_hash=lambda: "o" * 64)
    assert evaluated(config, "changed", again).fired
    reworded = replace(config, task=replace(config.task, instruction="Which intent: {labels}?"))
    assert "wording" in evaluated(config, "changed", evidence(reworded, [], [], bundle=bundle(config))).reason
    without = replace(same, bundle=bundle(config, prompt_name="roles"))
    assert evaluated(config, "changed", without).fired


def test_a_finding_is_json(config):
    found = evaluated(config, "age", evidence(config, [], []))
    assert isinstance(found, Finding)
    assert datetime.fromisoformat(evidence(config, [], []).champion.since) < NOW


def test_two_of_a_kind_have_separate_series(config):
    retrain = config.retrain
    words = retrain.triggers["input_drift"]
    config = replace(
        config, retrain=replace(retrain, triggers={"input_drift": words, "strict": {**words, "alpha": 0.001}})
    )
    past = [retraining_run(1, findings=[Finding("input_drift", False, "", 5.0, 100.0, p_value=0.001)])]
    known = [*items(0, 100), *items(1, 12), *items(2, 12)]
    usual, strict = (evaluated(config, name, evidence(config, known, past)) for name in config.retrain.triggers)
    assert (usual.trigger, strict.trigger) == ("input_drift", "strict")
    assert (usual.rows, strict.rows) == (12, 24)
    assert usual.statistic > strict.statistic
