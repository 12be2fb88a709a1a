"""The job as a scheduler runs it, again and again, in one repository; the tests run in their order."""

import json
import shutil
import sqlite3
import time
from pathlib import Path

import pytest

from tests.retrain.workplace import Workplace, rows
from whether.records import Quarantined, read_jsonl

pytestmark = [pytest.mark.real(minutes=4), pytest.mark.story, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, able_model: Path, warm: Path, empty_database: Path) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("retrain"), able_model, warm, empty_database)


def aliases(place: Workplace) -> dict[str, str]:
    """Alias in MLflow's registry → bundle."""
    query = (
        "select a.alias, t.value from registered_model_aliases a join model_version_tags t on t.name = a.name"
        " and t.version = a.version where a.name = 'whether-mine' and t.key = 'whether.bundle'"
    )
    with sqlite3.connect(place.path / "mlflow.db") as database:
        return dict(database.execute(query).fetchall())


def test_a_dry_run_says_what_it_would_do_and_writes_nothing(place: Workplace) -> None:
    place.write("inbox/a.jsonl", rows(6, 1))
    done = place.job("--dry-run")
    assert done.status == 0
    assert "1 files: 6 labelled rows" in done.out
    assert "would run the pipeline and put its recommended arm before the gate: there is no champion yet" in done.out
    assert (place.path / "inbox/a.jsonl").exists()
    assert not (place.path / "retrain").exists()
    assert place.shell("git status --porcelain") == ""


def test_the_first_run_makes_the_first_champion(place: Workplace) -> None:
    done = place.job("--detailed-exit-code")
    assert done.status == 10, done.err[-3000:]
    assert (done.summary["outcome"], done.summary["champion"]) == ("promoted", "linear_probe-zero_shot")
    assert done.summary["intake"]["labelled"] == 6
    assert place.champion()["champion"] == done.summary["bundle"]
    assert "FIRES" not in done.err
    assert place.shell("git diff --cached --name-only").split() == ["data.dvc"]


def test_the_champion_answers_a_file(place: Workplace) -> None:
    place.write("ask.jsonl", [{"text": row["text"]} for row in rows(8, 2)])
    command = "whether predict ask.jsonl"
    answers = [json.loads(line) for line in place.shell(command).splitlines()]
    right = sum(answer["answer"] == row["label"] for answer, row in zip(answers, rows(8, 2), strict=True))
    assert right >= 5
    place.write("ask.jsonl", [{"txt": "x"}])
    assert "ask.jsonl, line 1: column 'text' is missing" in place.shell(f"! {command} 2>&1")


def test_the_champion_is_a_model_of_mlflow_in_a_fresh_process(place: Workplace) -> None:
    place.write("ask.jsonl", [{"text": row["text"]} for row in rows(6, 2)])
    expected = [json.loads(line)["answer"] for line in place.shell("whether predict ask.jsonl").splitlines()]
    code = (
        "import json, mlflow, pandas; mlflow.set_tracking_uri('sqlite:///mlflow.db');"
        "model = mlflow.pyfunc.load_model('models:/whether-mine@champion');"
        "rows = pandas.read_json('ask.jsonl', lines=True); print(json.dumps(list(model.predict(rows)['answer'])))"
    )
    assert json.loads(place.shell(f'python -c "{code}"').splitlines()[-1]) == expected


def test_an_empty_inbox_is_nothing_to_do_and_a_run_in_mlflow(place: Workplace) -> None:
    done = place.job("--detailed-exit-code")
    assert (done.status, done.summary["outcome"], done.summary["reason"]) == (0, "no_trigger", "no trigger fired")
    with sqlite3.connect(place.path / "mlflow.db") as database:
        names = [name for (name,) in database.execute("select name from runs where lifecycle_stage = 'active'")]
    assert {"retraining-mine", "retraining-0001-promoted", "retraining-0002-no_trigger"} <= set(names)
    assert len(names) == len(set(names))


def test_artifacts_that_are_lost_are_made_again(place: Workplace) -> None:
    shutil.rmtree(place.path / "artifacts")
    place.write("inbox/one.jsonl", rows(4, 4321))
    plan = place.job("--dry-run")
    assert (plan.status, "would make artifacts/model again" in plan.out) == (0, True), plan.err
    done = place.job()
    assert (done.status, done.summary["outcome"]) == (0, "no_trigger"), done.err
    assert [path.name for path in (place.path / "artifacts").iterdir()] == ["model"]
    run = place.lines("retrain/runs.jsonl")[-1]
    assert run["champion_new"]["n"] == 4
    assert run["champion_new"]["ci_low"] <= run["champion_new"]["mean"] <= run["champion_new"]["ci_high"]


def test_only_bad_rows_require_action(place: Workplace) -> None:
    place.write("inbox/bad.jsonl", ["{", {"text": "", "label": "music"}])
    done = place.job()
    assert (done.status, done.summary["outcome"]) == (3, "action_required")
    assert done.summary["intake"]["quarantined"] == 2
    assert "bad.jsonl, line 1: not JSON" in done.summary["reason"]
    (file,) = (place.path / "retrain/quarantine").glob("*bad.jsonl*")
    assert len(read_jsonl(file, Quarantined)) == 2
    assert not list((place.path / "inbox").iterdir())


def test_an_unlisted_label_requires_action(place: Workplace) -> None:
    place.write("inbox/new.jsonl", [{"text": "a goal in the last minute", "label": "sport"}, *rows(4, 3)])
    done = place.job()
    assert (done.status, done.summary["outcome"]) == (3, "action_required")
    assert done.summary["intake"]["unknown_labels"] == {"sport": 1}
    assert "conf/task/mine.yaml" in done.summary["reason"]
    assert done.summary["intake"]["labelled"] == 4


def test_a_clock_that_goes_back(place: Workplace) -> None:
    done = place.job("now=2020-01-01T00:00:00+00:00")
    assert done.status == 0
    assert "it went back" in done.summary["attention"][0]
    assert done.summary["started"] > "2026"


def test_a_tracking_server_that_is_down(place: Workplace) -> None:
    done = place.job("tracking.uri=http://127.0.0.1:9")
    assert (done.status, done.summary["outcome"]) == (0, "no_trigger")
    assert "MLflow does not show this retraining run" in done.err
    assert place.job().status == 0
    with sqlite3.connect(place.path / "mlflow.db") as database:
        query = "select count(*) from runs where lifecycle_stage = 'active' and name like 'retraining-0%'"
        assert database.execute(query).fetchone() == (len(place.lines("retrain/runs.jsonl")),)


def test_two_jobs_at_once(place: Workplace) -> None:
    first = place.start("retrain.collect=[sleep,'8']")
    deadline = time.time() + 60
    while not (place.path / "retrain/holder.json").exists():
        assert time.time() < deadline
        time.sleep(0.05)
    second = place.job()
    assert second.status == 75
    assert f"locked by pid {first.pid} since 20" in second.err
    first.communicate()
    assert first.returncode == 0


def test_a_challenger_that_is_no_better_is_refused_and_another_arm_may_be_chosen(place: Workplace) -> None:
    before = place.champion()
    place.write("inbox/more.jsonl", rows(20, 4))
    done = place.job("force=true", "--detailed-exit-code")
    assert done.status == 11, done.err[-3000:]
    assert done.summary["outcome"] == "kept"
    assert done.summary["challenger"] == "linear_probe-zero_shot"
    assert place.champion()["champion"] == before["champion"]

    chosen = place.job("action=promote", "arm=base-zero_shot")
    assert chosen.status == 0
    assert place.champion()["arm"] == "base-zero_shot"
    assert aliases(place) == {"champion": chosen.summary["champion"], "previous": before["champion"]}
    assert place.job("action=rollback").status == 0
    assert place.champion()["champion"] == before["champion"]
    assert aliases(place) == {"champion": before["champion"], "previous": chosen.summary["champion"]}
    assert place.job("action=rollback").status == 0
    assert place.champion()["arm"] == "base-zero_shot"


def test_a_better_challenger_is_promoted_and_hooks_and_git_are_told(place: Workplace) -> None:
    hook = "retrain.after_promotion=[cp,'{bundle}/bundle.json',deployed.json]"
    done = place.job("force=true", "retrain.commit=retraining", hook)
    assert done.summary["outcome"] == "promoted", done.summary
    assert "better" in done.summary["reason"]
    assert json.loads((place.path / "deployed.json").read_text())["id"] == done.summary["bundle"]
    assert place.shell("git log --format=%s retraining").splitlines()[0].endswith(": promoted")
    assert place.shell("git diff --stat main retraining -- dvc.lock data.dvc").count("|") == 2
    assert place.shell("git rev-parse --abbrev-ref HEAD").strip() == "main"


def test_a_bundle_that_lost_a_file_is_refused(place: Workplace) -> None:
    champion = place.champion()
    file = next((place.path / "retrain/bundles" / champion["champion"] / "checkpoint").glob("*.safetensors"))
    kept = file.read_bytes()
    file.write_bytes(kept[:-1] + b"x")
    done = place.job()
    assert (done.status, "is not what was put there" in done.err) == (1, True)
    file.write_bytes(kept)
    assert place.job().status == 0


def test_data_that_somebody_changed_stops_the_job(place: Workplace) -> None:
    file = place.path / "data/mine/rows.jsonl"
    kept = file.read_text()
    file.write_text(kept.replace("music", "weather", 1))
    done = place.job("--detailed-exit-code")
    assert (done.status, done.summary["outcome"]) == (1, "failed")
    assert "data/mine/rows.jsonl" in done.summary["reason"]
    file.write_text(kept)
    assert place.job().status == 0


def test_a_full_disk(place: Workplace, small_disk: Path) -> None:
    place.write("inbox/large.jsonl", ["no row at all, " + "x" * 90] * 1500)
    before = place.lines("data/collected/mine.jsonl")
    done = place.job(f"retrain.folder={small_disk}")
    assert done.status == 1
    assert "the disk is full" in done.out + done.err
    assert (place.path / "inbox/large.jsonl").exists()
    assert place.lines("data/collected/mine.jsonl") == before
    (place.path / "inbox/large.jsonl").unlink()


def test_a_pipeline_that_fails_is_a_failed_run(place: Workplace) -> None:
    done = place.job("retrain.triggers.age.days=0.000001", "task.max_new_tokens=1")
    assert (done.status, done.summary["outcome"]) == (1, "failed")
    assert "max_new_tokens" in done.summary["reason"]
    assert "age" in done.summary["fired"]
    assert place.champion()["arm"] == "linear_probe-zero_shot"
    # What fired is made up for, although it does not fire again.
    done = place.job()
    assert (done.status, done.summary["outcome"], done.summary["fired"]) == (0, "kept", ["age"]), done.err
    assert place.job().summary["outcome"] == "no_trigger"


def test_rows_of_a_run_are_withdrawn(place: Workplace) -> None:
    last = place.lines("data/collected/mine.jsonl")[-1]["run"]
    done = place.job("action=withdraw", f"run={last}")
    assert done.summary["rows"] >= 1
    assert all(line["run"] != last for line in place.lines("data/collected/mine.jsonl"))
    assert place.job().status == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["action=rolback"], "action=rolback is unknown; did you mean 'rollback'"),
        (["--dry"], "--dry is unknown; did you mean '--dry-run'"),
        (["action=promote"], "action=promote needs arm="),
        (["action=promote", "arm=lora-knn"], "lora-knn is not an arm of the last verdict"),
        (["now=tomorrow"], "now=tomorrow: expected a time"),
        (["retrain.holdout_rows=0"], "retrain.holdout_rows"),
        (["retrain.window=50"], "retrain.window is now retrain.holdout_rows"),
        (["action=withdraw", "night=7"], "night= is now run="),
        (["retrain.triggers.age.dais=3"], "dais"),
    ],
)
def test_words_that_do_not_fit(place: Workplace, words: list[str], message: str) -> None:
    done = place.job(*words)
    assert done.status == 1
    assert message in done.err


def test_a_repository_without_a_champion(place: Workplace) -> None:
    shutil.move(place.path / "retrain/champion.json", place.path / "kept.json")
    for action in ("rollback", "status"):
        done = place.job(f"action={action}")
        assert (done.status, "there is no champion yet" in done.err) == (1, True)
    shutil.move(place.path / "kept.json", place.path / "retrain/champion.json")
