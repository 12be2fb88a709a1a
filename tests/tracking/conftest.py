"""Records of a pipeline run, and an empty MLflow database."""

import shutil
from pathlib import Path

import pytest
import yaml
from synthetic_records import ROOT, Records

from whether.config import CONF, Config, check, compose
from whether.tracking.connection import open_experiment


@pytest.fixture(scope="session")
def settings() -> Config:
    """The repository's own settings."""
    return check(yaml.safe_load(compose(conf=ROOT / CONF)))


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as MLflow makes it, which takes seconds; it knows one experiment that no test uses."""
    root = tmp_path_factory.mktemp("database")
    with open_experiment("sqlite:///mlflow.db", "of another task", root):
        return root / "mlflow.db"


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
