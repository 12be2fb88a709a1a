"""A challenger that continues from the champion's adapter, next to one tuned from scratch; and fetched rows."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
import yaml
from serving import free_port, wait_until_up

from tests.retrain.workplace import Workplace, rows

pytestmark = [pytest.mark.real(minutes=1.5), pytest.mark.story, pytest.mark.timeout(900)]
LORA = (
    "checkpoint=[base,lora]", "tuner.epochs=2", "tuner.r=2", "tuner.max_length=256",
    "policy.cost_margin=0.99",  # measured times must not choose the champion
)  # fmt: skip


LOGITS = """
import json, sys, mlflow, pandas, torch
from pathlib import Path
from whether.config import load
from whether.engine.local import LocalModel
mlflow.set_tracking_uri("sqlite:///mlflow.db")
loaded = mlflow.pyfunc.load_model(sys.argv[1])
rows = pandas.read_json("ask.jsonl", lines=True)[["text"]]
print(json.dumps(loaded.predict(rows).to_dict("records")))
ids = torch.arange(1, 33).reshape(2, 16)
here = LocalModel.load(Path("artifacts/model"), Path("artifacts/finetune/lora/checkpoint"), load().model)
there = loaded.unwrap_python_model().answerer._opened.model
base = LocalModel.load(Path("artifacts/model"), Path("artifacts/finetune/base/checkpoint"), load().model)
logits = [model.model(input_ids=ids).logits for model in (there, here, base)]
print(torch.equal(logits[0], logits[1]), torch.equal(logits[0], logits[2]))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, able_model: Path, warm: Path, empty_database: Path) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("warm-start"), able_model, warm, empty_database)


def test_a_challenger_continues_from_a_tuned_champion(place: Workplace) -> None:
    assert place.job(*LORA).status in (0, 3)
    assert place.job(*LORA, "action=promote", "arm=lora-zero_shot").status == 0
    champion = place.champion()
    fetch = f"[{sys.executable},-c,\"import shutil,sys; shutil.copy('fetched.jsonl', sys.argv[1])\",'{{inbox}}']"
    place.write("fetched.jsonl", rows(6, 321))
    done = place.job(*LORA, "force=true", "retrain.warm_start=true", f"retrain.collect={fetch}")
    assert done.status in (0, 3), done.err[-2000:]
    assert done.summary["intake"]["labelled"] == 6
    params = yaml.safe_load((place.path / "params.yaml").read_text())
    assert params["arms"]["checkpoint"] == ["base", "lora", "lora_warm"]
    warm_start = params["checkpoints"]["lora_warm"]["tuner"]["warm_start"]
    assert champion["champion"] in warm_start["adapter"]
    arms = json.loads((place.path / "artifacts/compare/verdict.json").read_text())["arms"]
    assert set(arms) == {"base-zero_shot", "lora-zero_shot", "lora_warm-zero_shot"}
    history = {
        name: place.lines(f"artifacts/finetune/{name}/history.jsonl")[0]["loss"] for name in ("lora", "lora_warm")
    }
    assert history["lora_warm"] < history["lora"]
    # Promoted, it is the one to continue from next time, under the same name; the list of checkpoints has not changed.
    assert place.job(*LORA, "retrain.warm_start=true", "action=promote", "arm=lora_warm-zero_shot").status == 0
    again = place.job(*LORA, "retrain.warm_start=true")
    assert (again.status, again.summary["outcome"]) == (0, "no_trigger"), again.err[-2000:]
    params = yaml.safe_load((place.path / "params.yaml").read_text())
    assert place.champion()["champion"] in params["checkpoints"]["lora_warm"]["tuner"]["warm_start"]["adapter"]


def test_a_tuned_checkpoint_is_a_registered_model_with_the_same_logits_and_answers(place: Workplace) -> None:
    """The last pipeline run was of base, lora and lora_warm."""
    receipt = json.loads((place.path / "artifacts/publish/receipt.json").read_text())
    assert {"lora-zero_shot", "lora_warm-zero_shot"} <= receipt["models"].keys()
    examples = {row["id"]: row["inputs"] for row in place.lines("artifacts/prepare/test.jsonl")}
    predictions = [
        row for row in place.lines("artifacts/score/lora-zero_shot/predictions.jsonl") if row["split"] == "test"
    ]
    place.write("ask.jsonl", [examples[row["id"]] for row in predictions])
    (place.path / "logits.py").write_text(LOGITS)
    model = f"models:/{receipt['models']['lora-zero_shot']}"
    *_, answers, equal = place.shell(f"python logits.py {model}").splitlines()
    assert json.loads(answers) == [{key: row[key] for key in ("answer", "valid", "output")} for row in predictions]
    assert equal == "True False"


def test_an_arm_whose_checkpoint_the_settings_lack_is_one_clear_error(place: Workplace) -> None:
    """A warm start is added for the champion of the moment, which need not be the one that the last run had."""
    done = place.job(*LORA, "action=promote", "arm=lora_warm-zero_shot")
    assert done.status == 1
    assert "which have a checkpoint lora_warm: give no settings, to use those of the last run" in done.err


def test_mlflow_serves_the_champion(place: Workplace) -> None:
    port, log = free_port(), place.path / "server.log"
    command = ["mlflow", "models", "serve", "-m", "models:/whether-mine@champion", "--env-manager", "local"]
    with log.open("wb") as output:
        server = subprocess.Popen(
            [*command, "--port", str(port)], cwd=place.path, start_new_session=True, stdout=output, stderr=output,
            env=place.environment | {"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"},
        )  # fmt: skip
    try:
        wait_until_up(f"http://127.0.0.1:{port}/health", lambda: server.poll() is None, log)
        asked = {"dataframe_records": [{"text": row["text"]} for row in rows(3, 7)]}
        done = httpx2.post(f"http://127.0.0.1:{port}/invocations", json=asked, timeout=120)
        assert done.status_code == 200, done.text
        found = done.json()["predictions"]
        assert len(found) == 3
        assert all(line.keys() == {"answer", "valid", "output"} for line in found)
        asked = {"dataframe_records": [{"txt": "another column"}]}
        assert httpx2.post(f"http://127.0.0.1:{port}/invocations", json=asked, timeout=120).status_code == 400
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def test_a_fetch_that_fails_is_a_failed_run_and_is_made_up_for(place: Workplace) -> None:
    last = place.lines("retrain/runs.jsonl")[-1]["started"]
    done = place.job(*LORA, "retrain.collect=[/bin/false]")
    assert (done.status, done.summary["outcome"]) == (1, "failed")
    assert done.summary["reason"].startswith("taking in: collect: /bin/false ended with status 1")
    assert (
        place.job(*LORA, "retrain.collect=[cp,'{since}','{inbox}']").status == 1
    )  # a way to see {since} in the message
    assert last in place.lines("retrain/runs.jsonl")[-1]["reason"]
    plan = place.job(*LORA, "retrain.collect=[/bin/false]", "--dry-run")
    assert (plan.status, "would first run /bin/false" in plan.out) == (0, True)
