"""Each schedule is valid for its scheduler, by the scheduler's own tool or schema, and runs the one command."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from croniter import croniter

SCHEDULES = Path(__file__).parents[1] / "schedules"
FILES = {file.name for file in SCHEDULES.iterdir() if file.is_file()}


def test_every_schedule_runs_the_job_and_is_in_the_table() -> None:
    table = (SCHEDULES / "README.md").read_text()
    for name in FILES - {"README.md"}:
        text = (SCHEDULES / name).read_text()
        assert "pipelines.retrain" in text or name.endswith(".timer")
        assert f"({name})" in table


def test_crontab() -> None:
    lines = [line for line in (SCHEDULES / "crontab").read_text().splitlines() if line and not line.startswith("#")]
    (entry,) = [line for line in lines if not re.match(r"[A-Z]+=", line)]
    *times, command = entry.split(maxsplit=5)
    assert croniter.is_valid(" ".join(times))
    assert subprocess.run(["bash", "-n", "-c", command], check=False).returncode == 0
    assert "%" not in command, "cron reads a percent sign as a line break"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd(tmp_path: Path) -> None:
    for name in ("whether-retrain.service", "whether-retrain.timer"):
        text = (SCHEDULES / name).read_text().replace("/srv/whether/.venv/bin/python", sys.executable)
        (tmp_path / name).write_text(text)
    units = sorted(map(str, tmp_path.iterdir()))
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    calendar = re.search(r"OnCalendar=(.*)", (SCHEDULES / "whether-retrain.timer").read_text())
    assert calendar
    subprocess.run(["systemd-analyze", "calendar", calendar[1]], check=True, capture_output=True)


@pytest.mark.heavy
def test_github_actions() -> None:
    file = SCHEDULES / "github-actions.yaml"
    command = ["check-jsonschema", "--builtin-schema", "vendor.github-workflows", str(file)]
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", *command[1:]], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    workflow = yaml.safe_load(file.read_text())
    assert croniter.is_valid(workflow[True]["schedule"][0]["cron"])  # YAML reads `on` as true
    for step in workflow["jobs"]["retrain"]["steps"]:
        assert subprocess.run(["bash", "-n", "-c", step.get("run", "")], check=False).returncode == 0


def test_kubernetes() -> None:
    file = SCHEDULES / "kubernetes.yaml"
    done = subprocess.run(
        [Path(sys.executable).with_name("kubernetes-validate"), "--strict", str(file)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    _, job = yaml.safe_load_all(file.read_text())
    assert croniter.is_valid(job["spec"]["schedule"])


AIRFLOW = """
import sys
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
bag = DagBag(sys.argv[1], bundle_path=None)
assert not bag.import_errors, bag.import_errors
dag = bag.dags["whether_retrain"]
[task] = dag.tasks
print(dag.max_active_runs, task.retries)
try:
    print(task.python_callable())
except Exception as error:
    print(type(error).__name__, str(error).splitlines()[0])
"""


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment with Airflow, whose pins do not go with ours."""
    folder = tmp_path_factory.mktemp("airflow") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "apache-airflow==3.3.2"]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"Airflow cannot be installed: {done.stderr[-300:]}")
    return python


STATUSES = pytest.mark.parametrize(
    ("status", "shown"),
    [
        (0, '{"outcome": "no_trigger"}'),
        (75, "AirflowSkipException another retraining job is at work"),
        (3, "AirflowFailException action required: begun"),
        (1, "CalledProcessError"),
    ],
)
SDK = """
import sys
class AirflowFailException(Exception): pass
class AirflowSkipException(Exception): pass
def dag(max_active_runs, default_args, **settings):
    print(max_active_runs, default_args["retries"])
    return lambda function: function
def task(function):
    try:
        print(function())
    except Exception as error:
        print(type(error).__name__, str(error).splitlines()[0])
    return lambda: None
"""


def a_job_that_ends(folder: Path, status: int) -> dict[str, str]:
    """Lay out what the DAG finds, a job that ends with a status, and return its environment."""
    job = folder / ".venv" / "bin" / "python"
    job.parent.mkdir(parents=True)
    job.write_text(f"""#!/bin/sh\n[ "$*" = "-m pipelines.retrain tracking=server" ] || exit 99
echo begun; echo '{{"outcome": "no_trigger"}}'; exit {status}\n""")
    job.chmod(0o755)
    (folder / "dags").mkdir()
    (folder / "dags" / "airflow_dag.py").write_text((SCHEDULES / "airflow_dag.py").read_text())
    environment = os.environ | {"AIRFLOW_HOME": str(folder / "home"), "WHETHER_WORK": str(folder)}
    return environment | {"AIRFLOW__CORE__LOAD_EXAMPLES": "False", "PYTHONPATH": ""}


def shows(command: list[object], folder: Path, environment: dict[str, str], shown: str) -> None:
    done = subprocess.run(
        list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    *_, settings, result = done.stdout.splitlines()
    assert settings == "1 2", "one at a time, and two more tries"
    assert result.startswith(shown)


@STATUSES
def test_what_the_task_of_airflow_makes_of_the_status(tmp_path: Path, status: int, shown: str) -> None:
    """The DAG's own code beside the few names that it takes from Airflow; `test_airflow` has the real one."""
    environment = a_job_that_ends(tmp_path, status) | {"PYTHONPATH": str(tmp_path / "packages")}
    (tmp_path / "packages/airflow/sdk").mkdir(parents=True)
    (tmp_path / "packages/airflow/sdk/__init__.py").write_text(SDK)
    (tmp_path / "packages/airflow/sdk/exceptions.py").write_text("from airflow.sdk import *")
    shows([sys.executable, "dags/airflow_dag.py"], tmp_path, environment, shown)


@pytest.mark.slow
@pytest.mark.timeout(900)
@STATUSES
def test_airflow(airflow: Path, tmp_path: Path, status: int, shown: str) -> None:
    """Airflow itself imports the DAG; the task takes the job's exit status for what it means."""
    environment = a_job_that_ends(tmp_path, status)
    shows([airflow, "-c", AIRFLOW, tmp_path / "dags"], tmp_path, environment, shown)
