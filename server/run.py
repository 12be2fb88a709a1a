"""MLflow for a team on one machine: PostgreSQL, S3-compatible artifacts, users with passwords. Ctrl-C stops it all.

    export MLFLOW_AUTH_ADMIN_PASSWORD=...            of the user `admin`, at the first start
    python server/run.py                             a PostgreSQL of its own, artifacts in a folder
    python server/run.py --artifacts s3://bucket/mlflow
    python server/run.py --database postgresql://mlflow@db.example/mlflow

S3 takes AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, where it is not Amazon's, MLFLOW_S3_ENDPOINT_URL from the
environment; a PostgreSQL that you have takes PGPASSWORD, and needs a second database `<name>_auth` next to its own.

Needs the extra `server` and, for a PostgreSQL of its own, its programs on this machine (Debian: postgresql). Secrets
come from the environment and are written nowhere. Everything else is in --folder: postgres/ (reached by a socket that
only its owner opens), artifacts/ and auth.ini. server/README.md has the rest.
"""

import argparse
import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from filelock import FileLock, Timeout

NAME = "mlflow"
"""Of the database; that of users and permissions is called `mlflow_auth`."""
LONGEST_SOCKET = 90
"""Characters of a socket's folder: the system allows 107 with the file's name."""


class Refused(Exception):
    """What is wrong and what to do about it."""


def main() -> None:
    """Start and wait."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("build/server"), help="where it keeps what it keeps")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; behind a proxy leave it")
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument("--allowed-hosts", help="names that browsers may reach it by, such as mlflow.example:*")
    parser.add_argument("--database", help="postgresql://user@host/name; without it one is made in --folder")
    parser.add_argument("--artifacts", help="s3://bucket/path, or a folder; without it one in --folder")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        check_environment(given)
        folder: Path = given.folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            stack.enter_context(alone(folder))
            refuse_used_port(given.host, given.port)
            # SQLAlchemy's default driver depends on its version.
            own = re.sub("^postgres(ql)?://", "postgresql+psycopg://", given.database) if given.database else None
            database = own or stack.enter_context(postgres(folder / "postgres"))
            sys.exit(serve(given, folder, database))
    except Refused as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def check_environment(given: argparse.Namespace) -> None:
    """Refuse what could not work before anything is started."""
    needed = {"mlflow": "mlflow", "psycopg": "psycopg", "Flask-WTF": "flask_wtf"}
    needed |= {"boto3": "boto3"} if (given.artifacts or "").startswith("s3://") else {}
    lacking = [package for package, module in needed.items() if find_spec(module) is None]
    if lacking:
        raise Refused(f"not installed: {', '.join(lacking)}; `pip install -c constraints.txt -e '.[server]'`")
    if given.database:
        parts = urlsplit(given.database)
        if parts.password:
            raise Refused("--database must hold no password, since others see a command line: set PGPASSWORD")
        if not parts.scheme.startswith("postgres") or not parts.path.strip("/"):
            raise Refused("--database must be like postgresql://mlflow@db.example/mlflow")
    if len(os.environ.get("MLFLOW_AUTH_ADMIN_PASSWORD", "")) < 12:
        raise Refused(
            "set MLFLOW_AUTH_ADMIN_PASSWORD, 12 characters or more: the first start makes the user `admin` with it"
        )


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the folder: a second server that stopped would take the first one's database with it."""
    try:
        with FileLock(folder / "lock", timeout=0):
            yield
    except Timeout:
        raise Refused(f"another server/run.py is at work in {folder}: stop it, or give another --folder") from None


def refuse_used_port(host: str, port: int) -> None:
    """Say so before anything is started."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise Refused(
                f"{host}:{port} cannot be had ({error.strerror}): stop what has it, such as the MLflow of a start that"
                " was killed, or give another --port"
            ) from None


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Run a PostgreSQL of our own while the block runs, and yield the address of its database.

    It listens on no network. PostgreSQL does not run as root: where we are root, the user `postgres` runs it.
    """
    tools, owner = programs(), "postgres" if os.geteuid() == 0 else None
    folder.mkdir(mode=0o700, exist_ok=True)
    data, door = folder / "data", folder / "socket"
    if len(str(door)) > LONGEST_SOCKET:
        raise Refused(f"{door} is too long a path for a socket: give --folder a shorter one")

    def run(*command: str) -> "subprocess.CompletedProcess[str]":
        # It starts in a folder that PostgreSQL's user can read, else it warns.
        return subprocess.run(command, user=owner, cwd=folder, text=True, capture_output=True, check=False)

    door.mkdir(mode=0o700, exist_ok=True)
    if owner:
        for path in (folder, door):
            shutil.chown(path, owner, owner)
        if run("test", "-w", str(folder)).returncode:
            raise Refused(
                f"the user {owner} cannot reach {folder}, and PostgreSQL does not run as root: another --folder"
            )
    if not (data / "PG_VERSION").exists():
        shutil.rmtree(data, ignore_errors=True)  # one that was not made to its end
        said = run(str(tools / "initdb"), "-D", str(data), "-U", NAME, "-A", "trust", "-E", "UTF8")
        if said.returncode:
            raise Refused(f"initdb: {said.stderr.strip()}")
    options = f"-c listen_addresses='' -c unix_socket_directories='{door}' -c unix_socket_permissions=0700"
    log = str(folder / "log")
    left = run(str(tools / "pg_ctl"), "-D", str(data), "status").returncode == 0  # by a start that was killed
    said = run(str(tools / "pg_ctl"), "-D", str(data), "-l", log, "-w", "-t", "60", "-o", options, "start")
    if said.returncode and not left:
        raise Refused(f"PostgreSQL does not start; its log is {log}: {(said.stderr or said.stdout).strip()}")
    try:
        for name in (NAME, f"{NAME}_auth"):
            made = run(str(tools / "createdb"), "-h", str(door), "-U", NAME, name)
            if made.returncode and "already exists" not in made.stderr:
                raise Refused(f"createdb {name}: {made.stderr.strip()}")
        yield f"postgresql+psycopg://{NAME}@/{NAME}?host={door}"
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):  # a second one must not leave it running
            signal.signal(number, signal.SIG_IGN)
        run(str(tools / "pg_ctl"), "-D", str(data), "-m", "fast", "-w", "stop")


def programs() -> Path:
    """Return the folder of PostgreSQL's programs; Debian has them outside PATH."""
    found = [Path(place).resolve().parent for place in (shutil.which("pg_ctl"), shutil.which("initdb")) if place]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in found:
        if all((folder / name).exists() for name in ("initdb", "pg_ctl", "createdb")):
            return folder
    raise Refused("PostgreSQL is not installed here (Debian: `apt install postgresql`): install it, or give --database")


def serve(given: argparse.Namespace, folder: Path, database: str) -> int:
    """Run the MLflow server until it ends or is told to, and return its status."""
    settings = folder / "auth.ini"
    # Nobody reads or changes what is not theirs until `admin` lets them.
    settings.write_text(
        "[mlflow]\ndefault_permission = READ\nadmin_username = admin\n"
        f"database_uri = {users_database(database)}\n"
        # A password is checked by a slow hash, several times a request; one that was right is remembered for so long.
        "auth_cache_ttl_seconds = 60\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    artifacts = given.artifacts or str(folder / "artifacts")
    environment = os.environ | {
        "MLFLOW_AUTH_CONFIG_PATH": str(settings),
        # Signs the forms of the user interface; a new one each time logs nobody out of the API.
        "MLFLOW_FLASK_SERVER_SECRET_KEY": os.environ.get("MLFLOW_FLASK_SERVER_SECRET_KEY") or secrets.token_hex(32),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    command = [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", "--backend-store-uri", database]
    command += ["--artifacts-destination", artifacts, "--host", given.host, "--port", str(given.port)]
    command += ["--allowed-hosts", given.allowed_hosts] if given.allowed_hosts else []
    print(f"MLflow at http://{given.host}:{given.port}, artifacts in {artifacts}", flush=True)
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        return process.wait()
    finally:
        stop(process)


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End a server and its workers."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            deadline = time.monotonic() + 10
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)


def users_database(database: str) -> str:
    """Return the address of the database of users, which is next to the main one."""
    parts = urlsplit(database)
    return urlunsplit(parts._replace(path=f"{parts.path}_auth")).replace("%", "%%")


if __name__ == "__main__":
    main()
