"""A server on loopback in the form of the chat-completions API, whose answers a test writes as a function."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any, NamedTuple

Body = dict[str, Any]


class Answer(NamedTuple):
    """What goes back."""

    content: Any
    """JSON; bytes go as they are."""
    status: int = 200
    headers: Mapping[str, str] = MappingProxyType({})


class Scripted(ThreadingHTTPServer):
    """Answers each POST by `behave`, and keeps what came."""

    daemon_threads = True

    def __init__(self, behave: Callable[[Body], Answer]):
        super().__init__(("127.0.0.1", 0), Handler)
        self.behave = behave
        self.bodies: list[Body] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Scripted

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        self.send(Answer({"error": {"message": "no such page"}}, 404))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.paths.append(self.path)
        self.server.bodies.append(body)
        self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        self.send(self.server.behave(body))

    def send(self, answer: Answer) -> None:
        data = answer.content if isinstance(answer.content, bytes) else json.dumps(answer.content).encode()
        self.send_response(answer.status)
        for name, value in ({"Content-Type": "application/json", **answer.headers}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def scripted(behave: Callable[[Body], Answer]) -> Iterator[Scripted]:
    """Serve until the block ends."""
    server = Scripted(behave)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def said(text: str | None = "yes", finish: str = "stop", **more: Any) -> Answer:
    """A whole answer; `more` goes into its message, `usage` and `model` around it."""
    around = {key: more.pop(key) for key in ("usage", "model") if key in more}
    message = {"role": "assistant", "content": text, **more}
    return Answer({"choices": [{"index": 0, "message": message, "finish_reason": finish}], **around})


def refused(message: str, param: str | None = None, code: Any = None, status: int = 400) -> Answer:
    """A refusal in OpenAI's form."""
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return Answer({"error": error}, status)
