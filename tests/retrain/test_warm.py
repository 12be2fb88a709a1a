"""A challenger that goes on from the champion's adapter, beside one that is tuned anew; and rows that are fetched."""

import json
import sys
from pathlib import Path

import pytest
import yaml

from tests.retrain.workplace import Workplace, rows

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
LORA = ("checkpoint=[base,lora]", "tuner.epochs=2", "tuner.r=2", "tuner.max_length=256")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, able_model: Path) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("warm"), able_model)


def test_a_champion_that_was_tuned_is_gone_on_from(place: Workplace) -> None:
    assert place.job(*LORA).status in (0, 3)
    assert place.job(*LORA, "action=promote", "arm=lora-zero_shot").status == 0
    champion = place.champion()
    fetch = f"[{sys.executable},-c,\"import shutil,sys; shutil.copy('fetched.jsonl', sys.argv[1])\",'{{inbox}}']"
    place.write("fetched.jsonl", rows(6, 321))
    done = place.job(*LORA, "force=true", "retrain.warm_start=true", f"retrain.collect={fetch}")
    assert done.status in (0, 3), done.err[-2000:]
    assert done.summary["taken"]["labelled"] == 6
    params = yaml.safe_load((place.path / "params.yaml").read_text())
    assert params["arms"]["checkpoint"] == ["base", "lora", "lora_warm"]
    start = params["checkpoints"]["lora_warm"]["tuner"]["start"]
    assert champion["champion"] in start["adapter"]
    arms = json.loads((place.path / "artifacts/compare/verdict.json").read_text())["arms"]
    assert set(arms) == {"base-zero_shot", "lora-zero_shot", "lora_warm-zero_shot"}
    history = {
        name: place.lines(f"artifacts/finetune/{name}/history.jsonl")[0]["loss"] for name in ("lora", "lora_warm")
    }
    assert history["lora_warm"] < history["lora"]
    # Promoted, it is the one to go on from next time, under the same name; the list of checkpoints has not changed.
    assert place.job(*LORA, "retrain.warm_start=true", "action=promote", "arm=lora_warm-zero_shot").status == 0
    again = place.job(*LORA, "retrain.warm_start=true")
    assert (again.status, again.summary["outcome"]) == (0, "nothing"), again.err[-2000:]
    params = yaml.safe_load((place.path / "params.yaml").read_text())
    assert place.champion()["champion"] in params["checkpoints"]["lora_warm"]["tuner"]["start"]["adapter"]


def test_a_fetch_that_fails_is_a_night_that_failed_and_is_made_up_for(place: Workplace) -> None:
    last = place.lines("retrain/nights.jsonl")[-1]["started"]
    done = place.job(*LORA, "retrain.collect=[/bin/false]")
    assert (done.status, done.summary["outcome"]) == (1, "failed")
    assert done.summary["reason"].startswith("taking in: collect: /bin/false ended with status 1")
    assert (
        place.job(*LORA, "retrain.collect=[cp,'{since}','{inbox}']").status == 1
    )  # a way to see {since} in the message
    assert last in place.lines("retrain/nights.jsonl")[-1]["reason"]
    plan = place.job(*LORA, "retrain.collect=[/bin/false]", "--dry-run")
    assert (plan.status, "would first run /bin/false" in plan.out) == (0, True)
