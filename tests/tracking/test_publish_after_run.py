"""What `whether run` asks of MLflow at its end: nothing where nothing has changed."""

import os
from pathlib import Path

import pytest
from synthetic_records import Records

from whether.cli import publish as verb
from whether.config import Config


@pytest.fixture
def publications(registered: Records, monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """The publications that were made, in a repository whose records MLflow shows."""
    made: list[Config] = []
    publish = verb.publish

    def counted(config: Config, *arguments: object, **named: object) -> verb.Receipt:
        made.append(config)
        return publish(config, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(verb, "publish", counted)
    monkeypatch.chdir(registered.root)
    for name in ("params.yaml", "dvc.lock"):
        Path(name).touch()
    return made


@pytest.mark.heavy
def test_mlflow_is_asked_only_where_something_has_changed(registered: Records, publications: list[Config]) -> None:
    first = verb.publish_if_changed(registered.config)
    assert first.models
    assert verb.publish_if_changed(registered.config) == first
    assert len(publications) == 1
    Path("dvc.lock").write_text("stages: {}\n")
    assert verb.publish_if_changed(registered.config) == first
    assert len(publications) == 2
    os.utime("mlflow.db")  # as any write to it
    assert verb.publish_if_changed(registered.config) == first
    assert len(publications) == 3
    Path(".state/publication.json").write_text("half")
    assert verb.publish_if_changed(registered.config) == first
    assert len(publications) == 4
