"""What happens after a promotion."""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from whether.config import RetrainConfig
from whether.retrain.hooks import after_promotion

SUMMARY = {"arm": "lora-knn", "bundle": "abc"}


def run(tmp_path, **settings):
    return after_promotion(RetrainConfig(**settings), tmp_path / "bundle", "lora-knn", SUMMARY)


def test_a_command_gets_bundle_and_arm(tmp_path):
    script = "import sys, pathlib; pathlib.Path(sys.argv[3]).write_text(' '.join(sys.argv[1:3]))"
    command = [sys.executable, "-c", script, "{bundle}", "arm={arm}", str(tmp_path / "out")]
    assert run(tmp_path, after_promotion=command) == []
    assert (tmp_path / "out").read_text() == f"{tmp_path / 'bundle'} arm=lora-knn"


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ([sys.executable, "-c", "import sys; sys.exit('no room')"], "ended with status 1: no room"),
        (["./nowhere.sh"], "cannot be run: No such file or directory"),
        ([sys.executable, "-c", "import time; time.sleep(60)"], "took more than 1 s and was ended"),
    ],
)
def test_a_command_that_fails_is_a_sentence(tmp_path, command, problem):
    (found,) = run(tmp_path, after_promotion=command, hook_timeout=1)
    assert problem in found


class Receiver(BaseHTTPRequestHandler):
    status = 200
    received: list[object] = []  # noqa: RUF012

    def do_POST(self):
        self.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.mark.heavy
def test_a_webhook(tmp_path, monkeypatch):
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HOOK_URL", f"http://127.0.0.1:{server.server_port}/?token=secret")
    assert run(tmp_path, webhook_env="HOOK_URL") == []
    assert Receiver.received == [SUMMARY]
    Receiver.status = 500
    (problem,) = run(tmp_path, webhook_env="HOOK_URL")
    assert problem == "webhook: the address in HOOK_URL answers 500"
    server.shutdown()
    server.server_close()
    (problem,) = run(tmp_path, webhook_env="HOOK_URL")
    assert "cannot be reached" in problem
    assert "secret" not in problem


def test_a_webhook_without_an_address(tmp_path, monkeypatch):
    monkeypatch.delenv("HOOK_URL", raising=False)
    assert run(tmp_path, webhook_env="HOOK_URL") == ["webhook_env: HOOK_URL is not set in the environment"]
