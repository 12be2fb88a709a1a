"""Records of a pipeline run, and an empty MLflow database."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from synthetic_records import ROOT, Records

from whether.config import CONF, Config, check, compose
from whether.tracking.candidates import registered_arms
from whether.tracking.publish import Receipt, publish


@pytest.fixture(scope="session")
def settings() -> Config:
    """The repository's own settings."""
    return check(yaml.safe_load(compose(["baseline=[]"], conf=ROOT / CONF)))


@pytest.fixture
def bare_records(tmp_path: Path, settings: Config) -> Records:
    """A repository with everything that a pipeline run leaves under artifacts/; its name is not an easy one."""
    made = Records(tmp_path / "mein Projekt (größer)", settings)
    made.write_all()
    return made


@pytest.fixture
def records(bare_records: Records, empty_database: Path) -> Records:
    """The same with a database that is there already."""
    shutil.copy(empty_database, bare_records.root / "mlflow.db")
    return bare_records


class PublishedRecords:
    """Records that were published once, and are laid out again for each test, in the same place.

    MLflow's database holds absolute paths and this process keeps it open, so it is written over, not replaced.
    """

    def __init__(self, records: Records, first: Callable[[Records], Receipt]):
        self.records, self.kept = records, records.root.with_name("kept")
        self.receipt = first(records)
        shutil.copytree(records.root, self.kept)

    def lay_out(self) -> Records:
        root = self.records.root
        for path in root.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != "mlflow.db":
                path.unlink()
        shutil.copytree(self.kept, root, ignore=shutil.ignore_patterns("mlflow.db*"), dirs_exist_ok=True)
        kept, database = (sqlite3.connect(folder / "mlflow.db") for folder in (self.kept, root))
        with closing(kept), closing(database):
            kept.backup(database)
        laid_out = Records(root, self.records.config)
        laid_out.receipt = self.receipt
        return laid_out


def published_records(
    root: Path, settings: Config, database: Path, first: Callable[[Records], Receipt]
) -> PublishedRecords:
    made = Records(root / "mein Projekt (größer)", settings)
    made.write_all()
    shutil.copy(database, made.root / "mlflow.db")
    return PublishedRecords(made, first)


@pytest.fixture(scope="session")
def published_once(
    tmp_path_factory: pytest.TempPathFactory, settings: Config, empty_database: Path
) -> PublishedRecords:
    root = tmp_path_factory.mktemp("published")
    return published_records(root, settings, empty_database, lambda made: publish(made.config, made.artifacts))


@pytest.fixture
def published(published_once: PublishedRecords) -> Records:
    """The same after `publish`; the receipt is `published.receipt`."""
    return published_once.lay_out()


@pytest.fixture(scope="session")
def registered_once(
    tmp_path_factory: pytest.TempPathFactory, settings: Config, empty_database: Path
) -> PublishedRecords:
    def first(made: Records) -> Receipt:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(made.root)
            return publish(made.config, made.artifacts, registered_arms(made.config, made.artifacts))

    return published_records(tmp_path_factory.mktemp("registered"), settings, empty_database, first)


@pytest.fixture
def registered(registered_once: PublishedRecords) -> Records:
    """The same after `publish` with the models that are registered."""
    return registered_once.lay_out()
