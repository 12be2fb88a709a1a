"""Servers that answer, that do not, and that answer something else. All are real, on the loopback interface."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from serving import free_port, wait_until_up
from synthetic_records import Records

from whether.errors import TrackingError
from whether.tracking.publish import publish
from whether.tracking.reading import TRACES

STAGES = 2 + 6 + 2 + 7


@pytest.fixture(autouse=True)
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second instead of ten, and one retry."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")


@contextmanager
def serving(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """A server that answers every request in one way; yields host and port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        do_POST = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def answering(status: int, body: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def test_a_server_that_is_down(bare_records: Records, caplog: pytest.LogCaptureFixture) -> None:
    start = time.monotonic()
    receipt = publish(bare_records.tracked_at(f"http://127.0.0.1:{free_port()}"), bare_records.artifacts)
    assert time.monotonic() - start < 20
    assert receipt.pending
    assert "does not answer" in str(receipt.reason)
    assert receipt.parent_run_id is None
    assert len(receipt.runs) == 1 + STAGES
    assert all(run.content_key and run.run_id is None for run in receipt.runs.values())


@pytest.mark.heavy
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(answering(500, b"Internal Server Error"), id="500"),
        pytest.param(answering(503, b'{"error_code": "TEMPORARILY_UNAVAILABLE", "message": "wait"}'), id="503"),
        pytest.param(answering(429, b"Too many requests"), id="429"),
        pytest.param(lambda _: time.sleep(3), id="too slow"),
        pytest.param(lambda handler: handler.connection.close(), id="hangs up"),
    ],
)
def test_a_server_that_cannot_serve_now(bare_records: Records, answer: Any) -> None:
    with serving(answer) as address:
        receipt = publish(bare_records.tracked_at(f"http://{address}"), bare_records.artifacts)
    assert receipt.pending
    assert f"http://{address} does not answer" in str(receipt.reason)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (answering(401, b"Unauthorized"), "refuses this user: set MLFLOW_TRACKING_USERNAME"),
        (answering(403, b'{"error_code": "PERMISSION_DENIED", "message": "no"}'), "refuses this user"),
        (answering(404, b"<html>no such page</html>"), "cannot be used"),
    ],
)
def test_a_server_that_will_never_do(bare_records: Records, answer: Any, message: str) -> None:
    with serving(answer) as address:
        config = bare_records.tracked_at(f"http://someone:hunter2@{address}")
        with pytest.raises(TrackingError, match=message) as error:
            publish(config, bare_records.artifacts)
        receipt = publish(config, bare_records.artifacts, strict=False)
    assert receipt.pending
    assert "hunter2" not in f"{error.value} {receipt}"
    assert receipt.uri == f"http://{address}"


class Server:
    """`mlflow server` with a database and artifacts in a folder."""

    def __init__(self, folder: Path):
        self.folder, self.port = folder, free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        command = [
            sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{self.folder / 'server.db'}",
            "--artifacts-destination", str(self.folder / "artifacts"),
        ]  # fmt: skip
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.folder, env=environment, start_new_session=True
            )
        wait_until_up(f"{self.uri}/health", lambda: self.process.poll() is None, self.folder / "server.log")

    def kill(self) -> None:
        """Kill -9, children included."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "server"
    folder.mkdir()
    made = Server(folder)
    yield made
    made.kill()


@pytest.mark.real
def test_a_server_that_dies_in_the_middle(
    bare_records: Records, server: Server, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    config = bare_records.tracked_at(server.uri)
    calls = 0

    def deadly(self: Any, *arguments: Any, real: Any = MlflowClient.log_artifact, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 12:
            server.kill()
        return real(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_artifact", deadly)
        assert publish(config, bare_records.artifacts).pending
    server.start()
    receipt = publish(config, bare_records.artifacts)
    assert not receipt.pending
    assert str(receipt.url).startswith(f"{server.uri}/#/experiments/1/runs/{receipt.parent_run_id}?")
    assert publish(config, bare_records.artifacts) == receipt
    assert capfd.readouterr() == ("", ""), "the client's chatter stays with the client"

    client = MlflowClient(server.uri)
    runs = client.search_runs(["1"])
    assert {run.info.run_id for run in runs} == {run.run_id for run in receipt.runs.values()}
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert len(runs) == 1 + STAGES
    traces = client.search_traces(locations=["1"], run_id=receipt.runs["base-knn"].run_id, max_results=100)
    assert len(traces) == TRACES
    assert all([span.name for span in trace.data.spans] == ["base-knn", "model"] for trace in traces)
    report = client.download_artifacts(receipt.parent_run_id, "report.html", str(bare_records.root))
    assert "Fine-tune the model" in Path(report).read_text()
    table = client.download_artifacts(receipt.runs["lora-knn"].run_id, "predictions.json", str(bare_records.root))
    assert "utterance 29 of test" in Path(table).read_text()
