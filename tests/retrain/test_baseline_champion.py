"""A small model without a language model as the champion: made, asked, registered, and defended, by the real job."""

import json
from pathlib import Path

import pytest

from tests.retrain.workplace import Workplace, rows

pytestmark = [pytest.mark.real(minutes=1), pytest.mark.story, pytest.mark.timeout(600)]
BASELINE = ("baseline=[linear]", "checkpoint=[base]")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, able_model: Path, warm: Path, empty_database: Path) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("baseline_champion"), able_model, warm, empty_database)


def test_where_no_language_model_is_needed_the_baseline_becomes_the_champion(place: Workplace) -> None:
    place.write("inbox/a.jsonl", rows(40, 1))
    done = place.job(*BASELINE)
    assert done.status == 0, done.err[-3000:]
    assert (done.summary["outcome"], done.summary["champion"]) == ("promoted", "linear")
    verdict = json.loads((place.path / "artifacts/compare/verdict.json").read_text())
    assert (verdict["answer"], verdict["arms"]["linear"]["answer"]) == ("neither", "neither")


def test_the_run_registers_the_recommended_baseline(place: Workplace) -> None:
    place.shell("whether publish")
    receipt = json.loads((place.path / "artifacts/publish/receipt.json").read_text())
    assert not receipt["pending"], receipt["reason"]
    assert receipt["models"]["linear"].startswith("whether-mine/")


def test_it_answers_a_file_and_as_a_model_of_mlflow(place: Workplace) -> None:
    place.write("ask.jsonl", [{"text": row["text"]} for row in rows(8, 2)])
    answers = [json.loads(line)["answer"] for line in place.shell("whether predict ask.jsonl").splitlines()]
    assert sum(answer == row["label"] for answer, row in zip(answers, rows(8, 2), strict=True)) >= 7
    code = (
        "import json, mlflow, pandas; mlflow.set_tracking_uri('sqlite:///mlflow.db');"
        "model = mlflow.pyfunc.load_model('models:/whether-mine@champion');"
        "rows = pandas.read_json('ask.jsonl', lines=True); print(json.dumps(list(model.predict(rows)['answer'])))"
    )
    assert json.loads(place.shell(f'WHETHER_MODEL=nowhere python -c "{code}"').splitlines()[-1]) == answers


def test_new_rows_are_watched_and_nothing_has_changed(place: Workplace) -> None:
    place.write("inbox/b.jsonl", rows(12, 3))
    done = place.job(*BASELINE)
    assert (done.status, done.summary["outcome"]) == (0, "no_trigger"), done.err[-3000:]
    run = place.lines("retrain/runs.jsonl")[-1]
    assert run["champion_new"]["n"] == 12


def test_a_run_that_leaves_it_out_has_a_reason_to_look_again(place: Workplace) -> None:
    done = place.job("--dry-run", "checkpoint=[base,linear_probe]")
    assert done.status == 0, done.err[-3000:]
    assert "the list of baselines, which lacks linear" in done.out + done.err


def test_it_is_no_checkpoint_to_export(place: Workplace) -> None:
    said = place.shell("! whether export linear exported 2>&1")
    assert "linear" in said
    assert "Traceback" not in said
