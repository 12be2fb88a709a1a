"""Arms of served models that dev shows to be worse: which they are, and that test is not paid for."""

import json
import random
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.retrain.workplace import SETTINGS, Workplace
from tests.shipped_metrics import metric
from whether.config import PolicyConfig, check, compose
from whether.records import Example, Prediction, Task, read_jsonl
from whether.score.race import race
from whether.score.score import ScoredTask

ROOT = Path(__file__).parents[2]
TASK = Task("t", "label", "accuracy", "", "", ["a", "b"], None, None, 4)
SCORED = ScoredTask(
    TASK, {str(number): Example(str(number), {}, "a") for number in range(100)}, None,
    {name: metric(name) for name in ("accuracy", "macro_f1")},
)  # fmt: skip
BLIND = '''
from whether.records import Message

def blind(task, pool, seed):
    """A prompt that does not show the input."""
    return lambda example: [Message("user", f"Which one? {example.id}")]
'''


def answers(right: list[bool]) -> list[Prediction]:
    return [
        Prediction(str(number), "dev", "", "a" if ok else "b", "a", float(ok), True, "", 1, None, 1, 0.1)
        for number, ok in enumerate(right)
    ]


def test_an_arm_loses_to_the_best_one_that_is_shown_to_be_better() -> None:
    draw = random.Random(0)
    best = [draw.random() < 0.9 for _ in range(100)]
    near = [ok if draw.random() < 0.95 else not ok for ok in best]
    arms = {"poor": answers([draw.random() < 0.3 for _ in best]), "best": answers(best), "near": answers(near)}
    lost = race(arms, SCORED, "accuracy", PolicyConfig(), 0)
    assert lost.keys() == {"poor"}
    found = lost["poor"]
    assert (found.better, found.metric, found.n) == ("best", "accuracy", 100)
    assert -1 <= found.ci_low < found.difference < found.ci_high < 0


def test_an_arm_that_lost_is_never_the_best_on_dev() -> None:
    """So the race changes no answer: the arm that stands for its kind is the best one on dev."""
    for seed in range(30):
        draw = random.Random(seed)
        rates = [draw.uniform(0.2, 0.9) for _ in range(4)]
        arms = {f"arm-{place}": answers([draw.random() < rate for _ in range(60)]) for place, rate in enumerate(rates)}
        lost = race(arms, SCORED, "macro_f1", PolicyConfig(resamples=200), 0)
        best = max(arms, key=lambda name: metric("macro_f1").estimate(_totals(arms[name])))
        assert best not in lost


def _totals(rows: list[Prediction]) -> Any:
    return metric("macro_f1").table(TASK, [row.answer for row in rows], [row.target for row in rows])


def test_with_a_hard_constraint_or_without_racing_every_arm_is_asked() -> None:
    import yaml

    word = "checkpoints.served.served.price={date: '2026-11-30', source: a, usd_per_1m_input: 1, usd_per_1m_output: 1}"
    words = ["checkpoint=[base,served]", word, "checkpoints.served.served.base_url=http://127.0.0.1:1/v1"]

    def racing(*more: str) -> list[str]:
        return check(yaml.safe_load(compose([*words, *more], conf=ROOT / "conf"))).racing_checkpoints

    assert racing() == ["served"]
    assert racing("policy.racing=none") == racing("policy.constraints.usd_per_1k.max=1") == []
    assert racing("prompt=[zero_shot]") == []  # an arm alone has nobody to race with


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    program = ROOT / "tests" / "cases" / "F_api_dialects" / "fake_server.py"
    with subprocess.Popen([sys.executable, "-IS", str(program)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


@pytest.mark.real(minutes=1)
def test_test_is_not_asked_of_an_arm_that_lost_on_dev(
    tmp_path: Path, able_model: Path, warm: Path, empty_database: Path, server: str
) -> None:
    place = Workplace(tmp_path, able_model, warm, empty_database)
    words = {"refund": "I want my money back", "delivery": "Where is my parcel"}
    rows = [{"text": f"{words[label]}, {number}", "label": label} for number in range(60) for label in words]
    place.write("data/asks/rows.jsonl", rows)
    place.shell("dvc add --quiet data && git commit -qam asks")
    (place.path / "blind.py").write_text(BLIND)
    (place.path / "conf/prompt/blind.yaml").write_text(
        "# @package prompts.blind\nstrategy: {_target_: blind.blind}\n"
        "decoding: {_target_: whether.outputs.decoding.greedy}\nlabels_needed: 0\n"
    )
    (place.path / "conf/task/asks.yaml").write_text(
        "name: asks\nsource: {path: data/asks/rows.jsonl}\ninputs: {text: text}\ntarget: label\noutput: label\n"
        "instruction: 'Which of {labels}?'\nmax_new_tokens: 8\nnear_duplicate: 1.0\n"
    )
    price = "{date: '2026-11-30', source: a test, usd_per_1m_input: 2, usd_per_1m_output: 8}"
    chosen = {"base_url": server, "model": "plain", "price": price}
    settings = [
        *(word for word in SETTINGS if not word.startswith(("task=", "checkpoint=", "prompt="))), "task=asks",
        "checkpoint=[base,served]", "prompt=[zero_shot,blind]",
        *(f"checkpoints.served.served.{name}={value}" for name, value in chosen.items()),
    ]  # fmt: skip

    def quick(*more: str) -> dict[str, Any]:
        done = place.module("whether.cli", "quick", *settings, *more)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads((place.path / "artifacts/quick/verdict.json").read_text())

    def asked() -> int:
        with urllib.request.urlopen(server.removesuffix("/v1") + "/log") as log:
            return len(json.load(log))

    verdict = quick()
    prepared = place.path / "artifacts/prepare"
    splits = {name: len(read_jsonl(prepared / f"{name}.jsonl", Example)) for name in ("dev", "test")}
    assert asked() == 2 * splits["dev"] + splits["test"]
    assert "served-blind" not in verdict["arms"]
    assert verdict["raced"]["served-blind"]["better"] == "served-zero_shot"
    [sentence] = [line for line in verdict["reasons"] if "policy.racing" in line]
    assert sentence.startswith("served-blind was not asked for test, which costs money: on the ")
    assert verdict["arms"]["served-zero_shot"]["metrics"]["accuracy"]["value"] == 1.0

    whole = quick("policy.racing=none")
    assert whole["raced"] == {}
    assert whole["arms"]["served-blind"]["metrics"]["accuracy"]["value"] < 0.7
    assert asked() == 2 * splits["dev"] + 2 * splits["test"]  # answers to dev were kept: none is paid for twice
