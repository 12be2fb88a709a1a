"""A served model beside the model of this machine, through the whole pipeline: real DVC, MLflow and server."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from serving import Proxy, sampling_copy, transformers_server

from tests.retrain.workplace import SETTINGS, Workplace, rows

pytestmark = [pytest.mark.real(minutes=2), pytest.mark.story, pytest.mark.timeout(900)]


class Study(NamedTuple):
    place: Workplace
    proxy: Proxy
    words: list[str]

    def run(self, command: str) -> "subprocess.CompletedProcess[str]":
        return self.place.module("whether.cli", command, *self.words)

    @property
    def verdict(self) -> dict[str, Any]:
        return json.loads((self.place.path / "artifacts/compare/verdict.json").read_text())


@pytest.fixture(scope="module")
def study(
    tmp_path_factory: pytest.TempPathFactory, able_model: Path, warm: Path, empty_database: Path
) -> Iterator[Study]:
    folder = tmp_path_factory.mktemp("served")
    place = Workplace(tmp_path_factory.mktemp("study"), able_model, warm, empty_database)
    far = sampling_copy(able_model, folder / "far")
    price = "{date: '2026-11-27', source: a test, usd_per_1m_input: 2, usd_per_1m_output: 8}"
    with transformers_server(far, folder / "log") as server, Proxy(server) as proxy:
        settings = {"base_url": proxy.url, "model": far, "price": price, "concurrency": 2}
        chosen = [f"checkpoints.served.served.{name}={value}" for name, value in settings.items()]
        words = [*SETTINGS, "checkpoint=[base,linear_probe,served]", "prompt=[zero_shot,few_shot]", *chosen]
        yield Study(place, proxy, words)


def test_beyond_its_limit_nothing_is_sent(study: Study) -> None:
    study.words.append("checkpoints.served.served.max_cost=0.000001")
    done = study.run("run")
    assert done.returncode != 0
    assert "arm served-zero_shot would cost up to $" in done.stderr
    assert study.proxy.reached == []
    estimate = study.run("estimate")
    assert (estimate.returncode, "served-few_shot" in estimate.stdout) == (1, True)
    study.words[-1] = "checkpoints.served.served.max_cost=1"
    assert study.run("estimate").returncode == 0
    assert study.proxy.reached == []


def test_a_served_model_is_compared_with_tuned_ones(study: Study) -> None:
    done = study.run("run")
    assert done.returncode == 0, done.stderr[-3000:]
    verdict = study.verdict
    assert verdict["recommended_arm"].startswith("linear_probe"), verdict["reasons"]
    here, far = (verdict["arms"][f"{name}-zero_shot"] for name in ("base", "served"))
    assert far["answer"] == "prompt"
    assert far["metrics"]["accuracy"] == here["metrics"]["accuracy"]  # the same model
    read, written = (far["metrics"][name]["value"] for name in ("input_tokens", "output_tokens"))
    cost = far["metrics"]["usd_per_1k"]
    assert cost["value"] == pytest.approx(1000 * (2 * read + 8 * written) / 1e6)
    assert cost["ci_low"] <= cost["value"] <= cost["ci_high"]
    for name in ("retention", "peak_memory", "seconds_per_request", "changed_outputs", "flexibility"):
        assert far["metrics"][name]["value"] is None, name
    assert verdict["pricing"]["served"]["served"]["usd_per_1m_output"] == 8
    assert verdict["interactions"] == []
    [sentence] = verdict["unreported_interactions"]
    assert "adds to linear_probe is not compared" in sentence
    assert "outputs of base-zero_shot give an answer" in sentence
    report = (study.place.path / "artifacts/report/report.html").read_text()
    assert "a served model: $2.00 for a million tokens in" in report


def test_nothing_is_asked_twice(study: Study) -> None:
    study.proxy.reached.clear()
    study.place.shell("dvc repro --force --single-item generate@served-zero_shot generate@served-few_shot")
    assert study.proxy.reached == []


def test_it_can_be_the_champion(study: Study) -> None:
    job = [word for word in study.words if word not in SETTINGS]
    done = study.place.job(*job, "action=promote", "arm=served-few_shot")
    assert done.status == 0, done.err
    study.proxy.reached.clear()
    study.place.write("inbox/new.jsonl", rows(4, 5))
    done = study.place.job(*job)
    assert (done.status, done.summary["champion"]) == (0, "served-few_shot"), done.err
    assert len(study.proxy.reached) == 4


def test_the_champion_of_mlflow_needs_no_weights(study: Study) -> None:
    program = (
        "import mlflow, json\n"
        "model = mlflow.pyfunc.load_model('models:/whether-mine@champion')\n"
        "assert model.input_example is None or list(model.input_example) == ['text']\n"
        "print(json.dumps(model.predict({'text': ['play song']}).to_dict('records')))"
    )
    environment = study.place.environment | {"WHETHER_MODEL": os.devnull}
    environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{study.place.path / 'mlflow.db'}"
    study.proxy.reached.clear()
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=study.place.path, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert set(json.loads(done.stdout.splitlines()[-1])[0]) == {"answer", "valid", "output"}
    assert len(study.proxy.reached) == 1


def test_a_champion_that_is_too_dear_gives_way(study: Study) -> None:
    job = [word for word in study.words if word not in SETTINGS]
    done = study.place.job(*job, "policy.constraints.usd_per_1k.max=0.01", "retrain.triggers.constraint.requests=3")
    assert "constraint" in done.summary["fired"]
    assert (done.summary["outcome"], done.summary["champion"]) == ("promoted", "linear_probe-zero_shot")
