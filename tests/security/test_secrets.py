"""Keys and passwords do not get into MLflow: neither by settings nor by what servers and hooks said."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.retrain.conftest import retraining_run
from whether.tracking.names import flatten
from whether.tracking.retraining import _note
from whether.tracking.store import Experiment
from whether.tracking.views import RunView

SECRET = "sk-0123456789"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", SECRET)


def test_settings_without_secrets() -> None:
    shown = flatten(
        {"served": {"headers": {"Authorization": f"Bearer {SECRET}"}, "base_url": "http://u:pass-word@h/v1"}}
    )
    assert SECRET not in str(shown)
    assert "pass-word" not in str(shown)


@pytest.fixture
def database(tmp_path: Path, empty_database: Path) -> Path:
    (tmp_path / "mlflow.db").write_bytes(empty_database.read_bytes())
    return tmp_path / "mlflow.db"


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")
def test_what_a_hook_said_is_shown_without_secrets(database: Path) -> None:
    from mlflow import MlflowClient

    client: Any = MlflowClient(f"sqlite:///{database}")
    store = Experiment(client, client.create_experiment("e", artifact_location=str(database.parent / "files")))
    said = f"collect: curl ended with status 22: 401 for {SECRET} at https://user:pass-word@host/x"
    view = RunView(
        name="retraining", kind="retraining", content_key="k", started=NOW, ended=NOW,
        note=_note(retraining_run(1, attention=[said], reason=said)), params={"command": said}, tags={},
    )  # fmt: skip
    run_id = store.begin(view)
    store.complete(run_id, view)
    store.set_tag(run_id, "said", said)
    run = client.get_run(run_id)
    everything = str(run.to_dictionary())
    assert "401 for" in everything
    assert SECRET not in everything
    assert "pass-word" not in everything
    assert b"pass-word" not in database.read_bytes()
