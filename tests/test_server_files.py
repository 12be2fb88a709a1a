"""server/: what Docker users get is what is tested here, and secrets stay in the environment."""

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from filelock import FileLock

ROOT = Path(__file__).parents[1]
SERVER = ROOT / "server"


@pytest.mark.heavy
def test_the_compose_file_is_one() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml"]
    done = subprocess.run(command, cwd=SERVER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_image_has_the_versions_that_were_tested() -> None:
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    named = re.findall(r'"([\w-]+)(?:\[\w+\])?==([\w.]+)"', (SERVER / "Dockerfile").read_text())
    assert {name for name, _ in named} == {"mlflow", "psycopg", "boto3"}
    assert {name: pinned[name] for name, _ in named} == dict(named)


def test_the_compose_file_holds_no_secret_and_opens_no_door() -> None:
    services = yaml.safe_load((SERVER / "compose.yaml").read_text())["services"]
    for name, service in services.items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        for key, value in service["environment"].items():
            if re.search("PASSWORD|KEY", key):
                assert str(value).startswith("${"), f"{name}: {key}"


def start(folder: Path, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(SERVER / "run.py"), *words], cwd=folder, env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_two_servers_in_one_folder_or_on_one_port(tmp_path: Path) -> None:
    password = {"MLFLOW_AUTH_ADMIN_PASSWORD": 12 * "x"}
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = start(tmp_path, "--port", str(taken.getsockname()[1]), **password)
        assert (done.returncode, "cannot be had" in done.stderr) == (1, True)
    with FileLock(tmp_path / "build/server/lock"):
        done = start(tmp_path, **password)
        assert (done.returncode, "another server/run.py is at work" in done.stderr) == (1, True)
    assert not (tmp_path / "build/server/postgres").exists()


@pytest.mark.parametrize(
    ("words", "environment", "message"),
    [
        ((), {}, "set MLFLOW_AUTH_ADMIN_PASSWORD, 12 characters or more"),
        (("--database", "postgresql://u:secret@h/d"), {"MLFLOW_AUTH_ADMIN_PASSWORD": 12 * "x"}, "set PGPASSWORD"),
        (("--database", "mysql://h/d"), {"MLFLOW_AUTH_ADMIN_PASSWORD": 12 * "x"}, "must be like postgresql://"),
        (("--folder", 90 * "x"), {"MLFLOW_AUTH_ADMIN_PASSWORD": 12 * "x"}, "is too long a path for a socket"),
    ],
)
def test_a_start_that_cannot_work_is_one_clear_error(
    tmp_path: Path, words: tuple[str, ...], environment: dict[str, str], message: str
) -> None:
    done = start(tmp_path, *words, **environment)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert "secret" not in done.stderr
