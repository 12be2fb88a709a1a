"""The server for a team, as server/run.py starts it: real PostgreSQL, a real S3 API, users; and a DVC remote there."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx2
import psutil
import pytest
from serving import free_port, wait_until_up

from tests.retrain.workplace import ROOT, SETTINGS, Workplace

PROGRAMS = shutil.which("pg_ctl") or list(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
pytestmark = [
    pytest.mark.real(minutes=2),
    pytest.mark.story,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not PROGRAMS, reason="PostgreSQL is not installed"),
]
PASSWORD = "a-password-of-no-value"
S3 = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def storage() -> Iterator[str]:
    """Address of an S3 API with two buckets."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    url = f"http://127.0.0.1:{port}"
    client = boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="secret"
    )
    for name in ("mlflow", "dvc"):
        client.create_bucket(Bucket=name)
    yield url
    server.stop()


class Server(NamedTuple):
    url: str
    process: "subprocess.Popen[bytes]"

    def get(self, path: str, **words: Any) -> Any:
        answer = httpx2.get(f"{self.url}/api/2.0/mlflow/{path}", params=words, auth=("admin", PASSWORD))
        assert answer.is_success, answer.text
        return answer.json()

    def runs(self, experiment: str) -> list[dict[str, Any]]:
        found = self.get("experiments/get-by-name", experiment_name=experiment)["experiment"]
        body = {"experiment_ids": [found["experiment_id"]], "max_results": 1000}
        answer = httpx2.post(f"{self.url}/api/2.0/mlflow/runs/search", json=body, auth=("admin", PASSWORD), timeout=60)
        return list(answer.json().get("runs", []))


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that PostgreSQL's user reaches too; pytest's own are for this user alone."""
    path = Path(tempfile.mkdtemp(prefix="whether-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@contextmanager
def running(folder: Path, storage: str, port: int | None) -> Iterator[Server]:
    command = [sys.executable, str(ROOT / "server/run.py"), "--folder", str(folder / "s"), "--port", str(port)]
    environment = os.environ | S3 | {"MLFLOW_S3_ENDPOINT_URL": storage, "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD}
    # Two workers for two cores; MLflow's own jobs, of which we use none, start nine further processes.
    environment |= {"MLFLOW_WORKERS": "2", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [*command, "--artifacts", "s3://mlflow/artifacts"], cwd=folder, env=environment, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_up(f"{url}/health", lambda: process.poll() is None, folder / "log")
        yield Server(url, process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@pytest.fixture(scope="module")
def server(folder: Path, storage: str) -> Iterator[Server]:
    with running(folder, storage, free_port()) as started:
        yield started


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, able_model: Path, warm: Path, empty_database: Path) -> Workplace:
    made = Workplace(tmp_path_factory.mktemp("team"), able_model, warm, empty_database)
    made.environment |= {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": PASSWORD}
    made.environment |= {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
    return made


def python(place: Workplace, *command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [place.python, *command], cwd=place.path, env=place.environment | environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def test_a_retraining_run_on_the_server_of_a_team(server: Server, place: Workplace, storage: str) -> None:
    assert httpx2.get(f"{server.url}/api/2.0/mlflow/experiments/get?experiment_id=0").status_code == 401
    done = place.job("tracking=server", f"tracking.uri={server.url}")
    assert (done.status, done.summary["outcome"]) == (0, "promoted"), done.err[-3000:]
    names = {run["info"]["run_name"].split(" ")[-1] for run in server.runs("whether/mine")}
    assert {"base", "linear_probe", "base-zero_shot", "retraining-mine"} <= names
    version = server.get("registered-models/alias", name="whether-mine", alias="champion")["model_version"]
    program = (
        "import mlflow, json; model = mlflow.pyfunc.load_model('models:/whether-mine@champion');"
        "print(json.dumps(model.predict(model.input_example).to_dict('records')))"
    )
    loaded = python(place, "-c", program, MLFLOW_TRACKING_URI=server.url)
    assert loaded.returncode == 0, loaded.stderr[-2000:]
    assert json.loads(loaded.stdout.splitlines()[-1])[0]["answer"] in {"music", "weather", None}
    assert version["version"] == "1"
    import boto3

    client = boto3.client(
        "s3", endpoint_url=storage, region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="secret"
    )
    keys = [found["Key"] for found in client.list_objects_v2(Bucket="mlflow")["Contents"]]
    assert any(key.endswith("report.html") for key in keys)
    assert any("bundle.json" in key for key in keys)


def test_a_wrong_password_costs_a_warning_and_no_run(server: Server, place: Workplace) -> None:
    kept = place.environment["MLFLOW_TRACKING_PASSWORD"]
    place.environment["MLFLOW_TRACKING_PASSWORD"] = "another-password"
    try:
        done = place.job("tracking=server", f"tracking.uri={server.url}")
    finally:
        place.environment["MLFLOW_TRACKING_PASSWORD"] = kept
    assert (done.status, done.summary["outcome"]) == (0, "no_trigger")
    assert "another-password" not in done.err
    assert "MLflow does not show this retraining run" in done.err


def contents(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Name of each run → its status and metrics; a name that is there twice is no name of a stage."""
    found = {}
    for run in runs:
        name = run["info"]["run_name"]
        assert name not in found
        metrics = {metric["key"]: metric["value"] for metric in run["data"].get("metrics", [])}
        found[name] = (run["info"]["status"], metrics, len(run["data"].get("params", [])))
    return found


def publishing(place: Workplace, url: str, experiment: str) -> "subprocess.Popen[str]":
    """Begin to send the records of the last run into an experiment of its own."""
    words = [*SETTINGS, "tracking=server", f"tracking.uri={url}", f"tracking.experiment={experiment}"]
    assert place.module("pipelines.compose", *words).returncode == 0
    return subprocess.Popen(
        [place.python, "-m", "whether.cli", "publish"], cwd=place.path, env=place.environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_kill_9_of_the_server_while_it_is_told(server: Server, place: Workplace, folder: Path, storage: str) -> None:
    start = time.monotonic()
    undisturbed = publishing(place, server.url, "undisturbed")
    _, said = undisturbed.communicate()
    length = time.monotonic() - start
    assert undisturbed.returncode == 0, said
    expected = contents(server.runs("undisturbed"))
    assert len(expected) >= 7
    process = publishing(place, server.url, "killed")
    time.sleep(random.Random(0).uniform(0.4, 0.9) * length)
    for child in psutil.Process(server.process.pid).children(recursive=True):
        if "postgres" not in child.name():
            child.kill()
    process.communicate()
    server.process.wait(60)
    with running(folder, storage, urlsplit(server.url).port) as told:
        done = place.module("whether.cli", "publish")
        assert done.returncode == 0, done.stderr
        assert contents(told.runs("killed")) == expected


def test_a_fresh_clone_with_the_remote_runs_nothing(place: Workplace, storage: str, tmp_path: Path) -> None:
    place.environment |= S3
    assert place.module("whether.cli", "run", *SETTINGS, "tracking=none").returncode == 0
    place.shell(
        "dvc remote add --default store s3://dvc/cache && dvc remote modify store endpointurl " + storage + " &&"
        " git add . && git commit --quiet -m 'with results' && dvc push --quiet"
    )
    clone = place.clone(tmp_path / "clone")
    shutil.rmtree(clone.path / "data")
    clone.shell("dvc pull --quiet")
    done = clone.module("dvc", "repro", WHETHER_COMPOSED="1")
    assert done.returncode == 0, done.stderr
    assert "Running stage" not in done.stdout.replace("Running stage 'compose'", ""), done.stdout
    verdict = "artifacts/compare/verdict.json"
    assert (clone.path / verdict).read_bytes() == (place.path / verdict).read_bytes()
