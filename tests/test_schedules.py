"""Each schedule is valid for its scheduler, by the scheduler's own tool or schema, and runs the one command."""

import importlib.util
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


@pytest.mark.skipif(importlib.util.find_spec("airflow") is None, reason="Airflow is not installed")
def test_airflow() -> None:
    code = (
        "import sys; sys.path.insert(0, 'schedules'); import airflow_dag as m\n"
        "from airflow.models import DagBag\n"
        "bag = DagBag('schedules', include_examples=False)\n"
        "assert not bag.import_errors, bag.import_errors; print(bag.dag_ids)"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=SCHEDULES.parent, capture_output=True, text=True, check=True)
    assert "whether_retrain" in out.stdout
