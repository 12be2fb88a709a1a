"""Real servers on loopback, and a proxy before them that injects faults and counts what reaches them."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
from references import generate_greedily

from whether.model.tokens import encode
from whether.records import Decoding

HOST = "127.0.0.1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def sampling_copy(model: Path, folder: Path) -> Path:
    """Copy a model folder and let it sample: `transformers serve` takes a temperature only where this is set."""
    shutil.copytree(model, folder)
    settings = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps({**settings, "do_sample": True}))
    return folder


@contextmanager
def transformers_server(folder: Path, log: Path) -> Iterator[str]:
    """Serve a model folder with `transformers serve` and yield the API's address."""
    port = free_port()
    program = "from transformers.cli.transformers import main; main()"
    command = [sys.executable, "-c", program, "serve", str(folder), "--host", HOST, "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen([*command, "--device", "cpu"], stdout=output, stderr=output)
    try:
        wait_until_up(f"http://{HOST}:{port}/health", lambda: process.poll() is None, log)
        yield f"http://{HOST}:{port}/v1"
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_up(url: str, is_alive: Callable[[], bool], log: Path) -> None:
    with httpx2.Client(verify=False) as client:  # loading certificates takes longer than a try
        for _ in range(1200):
            try:
                if client.get(url).is_success:
                    return
            except httpx2.TransportError:
                pass
            if not is_alive():
                break
            time.sleep(0.1)
    raise RuntimeError(f"no server at {url}: {log.read_text()}")


class Exchange(NamedTuple):
    status: int
    headers: dict[str, str]
    content: bytes


Fault = Callable[["Handler", Callable[[], Exchange]], None]
"""What happens to one request instead of being passed on as it is."""


class Handler(BaseHTTPRequestHandler):
    """Passes a request on to the server, unless the proxy has a fault left."""

    protocol_version = "HTTP/1.1"
    proxy: "Proxy"

    def do_GET(self) -> None:
        self.respond(self._forward("GET", None))

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["content-length"]))
        with self.proxy.lock:
            self.proxy.arrived.append((time.monotonic(), json.loads(content)))
            fault = self.proxy.faults.popleft() if self.proxy.faults else None
            self.proxy.under_way += 1
            self.proxy.most_under_way = max(self.proxy.most_under_way, self.proxy.under_way)
        time.sleep(self.proxy.delay)
        if fault:
            fault(self, lambda: self._forward("POST", content))
        else:
            exchange = self._forward("POST", content)
            with self.proxy.lock:
                self.proxy.under_way -= 1
            self.respond(exchange)

    def _forward(self, method: str, content: bytes | None) -> Exchange:
        if content is not None:
            with self.proxy.lock:
                self.proxy.reached.append(json.loads(content))
        kept = {key: value for key, value in self.headers.items() if key.lower() in ("authorization", "content-type")}
        url = self.proxy.upstream + self.path
        with self.proxy.forwarding():
            response = self.proxy.client.request(method, url, content=content, headers=kept)
        return Exchange(response.status_code, {"content-type": response.headers["content-type"]}, response.content)

    def respond(self, exchange: Exchange, sent: int | None = None) -> None:
        """Send a response, or only its first bytes."""
        try:
            self.send_response(exchange.status)
            for key, value in exchange.headers.items():
                self.send_header(key, value)
            self.send_header("content-length", str(len(exchange.content)))
            self.end_headers()
            self.wfile.write(exchange.content[:sent])
        except OSError:  # the client has hung up
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


class Proxy(ThreadingHTTPServer):
    """A proxy on a port of its own. `faults` hit the first requests to arrive, one each."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, server: str, faults: Sequence[Fault | None] = (), *, delay: float = 0.0, port: int = 0):
        super().__init__((HOST, port), type("BoundHandler", (Handler,), {"proxy": self}))
        self.upstream = server.removesuffix("/v1")
        self.faults = deque(faults)
        self.delay = delay
        self.client = httpx2.Client(timeout=120, verify=False)
        self.lock = threading.Lock()
        self.arrived: list[tuple[float, dict[str, Any]]] = []
        """Time and body of every request that came."""
        self.reached: list[dict[str, Any]] = []
        """Bodies that were passed on to the server."""
        self.under_way = 0
        self.most_under_way = 0
        """Requests at the same time, while there were no faults."""
        self.forwards = 0
        self.closed = False
        self.changed = threading.Condition()
        """Of `forwards`, requests that the server is computing, and `closed`."""

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_address[1]}/v1"

    def __enter__(self) -> "Proxy":
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    @contextmanager
    def forwarding(self) -> Iterator[None]:
        """A request is at the server: the client for it must stay open."""
        with self.changed:
            if self.closed:
                raise ConnectionError("the proxy is closed")
            self.forwards += 1
        try:
            yield
        finally:
            with self.changed:
                self.forwards -= 1
                self.changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # a client that was killed
            super().handle_error(request, client_address)

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()
        with self.changed:
            self.closed = True
            self.changed.wait_for(lambda: not self.forwards)
        self.client.close()


def status(code: int, message: str = "injected", **headers: str) -> Fault:
    """The server answers with an error, in OpenAI's form."""
    content = json.dumps({"error": {"message": message}}).encode()
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return lambda handler, _: handler.respond(Exchange(code, named, content))


def content(text: str) -> Fault:
    """The server answers 200 with something else."""
    return lambda handler, _: handler.respond(Exchange(200, {}, text.encode()))


def cut(handler: Handler, forward: Callable[[], Exchange]) -> None:
    """The request is computed, and the connection breaks in the middle of the answer."""
    exchange = forward()
    handler.respond(exchange, len(exchange.content) // 2)
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def hang_up(handler: Handler, forward: Callable[[], Exchange]) -> None:
    """The connection breaks before any answer."""
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def too_slow(handler: Handler, forward: Callable[[], Exchange]) -> None:
    """The request is computed, and the answer comes when the client no longer waits for it."""
    handler.connection.recv(1)
    handler.respond(forward())


def without_usage(handler: Handler, forward: Callable[[], Exchange]) -> None:
    """The server tells no token counts."""
    exchange = forward()
    answer = json.loads(exchange.content)
    del answer["usage"]
    handler.respond(exchange._replace(content=json.dumps(answer).encode()))


def scoring_app(local: Any, model: str, key: str) -> Any:
    """A server for a `LocalModel` that returns true log-probabilities and can hold an answer to given choices.

    It shows what `transformers serve` does not do: it wants a key, which it repeats when it is wrong, and knows its
    model's name. Its OpenAPI document is FastAPI's own.
    """
    from fastapi import FastAPI, Request
    from fastapi.responses import JSONResponse
    from pydantic import BaseModel

    app = FastAPI()

    class StructuredOutputs(BaseModel):
        choice: list[str]

    class ChatCompletionRequest(BaseModel):
        model: str
        messages: list[dict[str, str]]
        max_tokens: int
        temperature: float
        structured_outputs: StructuredOutputs | None = None

    @app.middleware("http")
    async def check_key(request: Request, call_next: Any) -> Any:
        given = request.headers.get("authorization", "")
        if request.url.path.startswith("/v1/") and given != f"Bearer {key}":
            return JSONResponse({"error": {"message": f"wrong key: {given}"}}, 401)
        return await call_next(request)

    def unknown(name: str) -> JSONResponse:
        return JSONResponse({"error": {"message": f"no {name}"}}, 404)

    @app.get("/v1/models")
    async def models() -> Any:
        return {"data": [{"id": model}]}

    @app.post("/v1/chat/completions")
    async def chat(request: ChatCompletionRequest) -> Any:
        from whether.engine.requests import ScoringRequest as Scoring
        from whether.records import Message

        if request.model != model:
            return unknown(request.model)
        ids = encode(local.tokenizer, [Message(**message) for message in request.messages])  # type: ignore[arg-type]
        if request.structured_outputs:
            texts = request.structured_outputs.choice
            ends = [tuple(local.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
            scores = local.loglikelihoods([Scoring(tuple(ids), end) for end in ends])
            text, length = max(zip(scores, texts, map(len, ends), strict=True))[1:]
        else:
            (answer,) = generate_greedily(local, [ids], Decoding(request.max_tokens))
            text, length = answer.text, answer.output_tokens
        usage = {
            "prompt_tokens": len(ids), "completion_tokens": length, "prompt_tokens_details": {"cached_tokens": 3}
        }  # fmt: skip
        return {"choices": [{"message": {"content": text}, "finish_reason": "stop"}], "usage": usage}

    return app


def free_app(known: dict[str, Any] | None) -> Any:
    """A server whose OpenAPI document names the fields `known`, or has an error in its place; it keeps to nothing."""
    from fastapi import FastAPI
    from fastapi.responses import JSONResponse

    app = FastAPI(openapi_url=None)

    @app.get("/openapi.json")
    async def document() -> Any:
        if known is None:
            return JSONResponse({"detail": "broken"}, 500)
        return {"components": {"schemas": {"ChatCompletionRequest": {"properties": known}}}}

    @app.post("/v1/chat/completions")
    async def chat() -> Any:
        return {"choices": [{"message": {"content": "I think billing"}, "finish_reason": "stop"}]}

    return app


@contextmanager
def running(app: Any) -> Iterator[str]:
    """Run an ASGI app in a thread and yield its API's address."""
    import uvicorn

    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, host=HOST, port=port, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://{HOST}:{port}/v1"
    finally:
        server.should_exit = True
        thread.join()
