"""A small server in the form of the chat-completions API, with faults and dialects. Standard library only.

    python fake_server.py [port]        prints its address, such as http://127.0.0.1:8123/v1, and serves until it ends

What it does depends on the name of the model that is asked for; BEHAVIOURS below lists the names. GET /log returns the
requests so far as JSON: model, status, attempt, and the names of the fields that came. It listens on 127.0.0.1 alone.

The model behind it knows words: the answer to a chat is the label of the first word of WORDS in its last user turn.
"""

import contextlib
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WORDS = {"money": "refund", "parcel": "delivery", "prize": "spam"}
OTHER = "delivery"
LOG = []
SEEN = {}
LOCK = threading.Lock()


def plain_text(content):
    """The text of a content, given as text or as parts."""
    if isinstance(content, list):
        return " ".join(part.get("text", "") for part in content if isinstance(part, dict))
    return content or ""


def last_user(body):
    turns = [turn for turn in body.get("messages", []) if turn.get("role") == "user"]
    return plain_text(turns[-1]["content"]) if turns else ""


def label(body):
    text = last_user(body).lower()
    return next((name for word, name in WORDS.items() if word in text), OTHER)


def completion(body, **message):
    """A whole answer; `message` changes its message, `_finish`, `_usage`, `_model` what is around it."""
    finish, usage, model = (
        message.pop("_finish", "stop"),
        message.pop("_usage", True),
        message.pop("_model", body["model"]),
    )
    answer = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": label(body), **message}, "finish_reason": finish}
        ],
    }
    if usage:
        answer["usage"] = {"prompt_tokens": 20, "completion_tokens": 2, "total_tokens": 22}
    return answer


def error(text, param=None, code=None, kind="invalid_request_error"):
    return {"error": {"message": text, "type": kind, "param": param, "code": code}}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def send(self, status, content, kind="application/json", **headers):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(data)
        return status

    def cut(self, content):
        """Promise a whole answer, send half of it, and hang up."""
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2])
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(2)
        return 200

    def do_GET(self):
        if self.path == "/log":
            self.send(200, LOG)
        elif self.path == "/v1/models":
            self.send(200, {"object": "list", "data": [{"id": name, "object": "model"} for name in BEHAVIOURS]})
        else:
            self.send(404, error("no such page"))

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        if self.path != "/v1/chat/completions":
            self.send(404, error("no such page"))
            return
        behave = BEHAVIOURS.get(body.get("model"))
        if behave is None:
            self.send(404, error(f"no model {body.get('model')}", "model", "model_not_found"))
            return
        with LOCK:
            key = json.dumps(body, sort_keys=True)
            attempt = SEEN[key] = SEEN.get(key, 0) + 1
        status = behave(self, body, attempt)
        with LOCK:
            LOG.append({"model": body["model"], "status": status, "attempt": attempt, "fields": sorted(body)})


def plain(server, body, attempt):
    return server.send(200, completion(body))


def refuses(field, text, allowed=lambda _: False):
    """A model that answers 400 where a field is there with a value that it does not allow."""

    def behave(server, body, attempt):
        if field in body and not allowed(body[field]):
            return server.send(400, error(text, field, "unsupported_parameter"))
        return plain(server, body, attempt)

    return behave


def wants_parts(server, body, attempt):
    if not all(isinstance(turn["content"], list) for turn in body["messages"]):
        return server.send(400, error("content has to be a list of parts", "messages"))
    return plain(server, body, attempt)


def wants_no_thinking(server, body, attempt):
    if body.get("chat_template_kwargs") != {"enable_thinking": False}:
        return server.send(200, completion(body, content="<think>\nLet me see what the writer", _finish="length"))
    return plain(server, body, attempt)


def streams_only(server, body, attempt):
    if body.get("stream") is not True:
        return server.send(400, error("this model can only be asked with stream set to true", "stream"))
    chunks = [
        {"choices": [{"index": 0, "delta": delta, "finish_reason": end}]}
        for delta, end in (
            ({"role": "assistant", "content": ""}, None),
            ({"content": label(body)[:3]}, None),
            ({"content": label(body)[3:]}, None),
            ({}, "stop"),
        )
    ]
    chunks.append({"choices": [], "usage": {"prompt_tokens": 20, "completion_tokens": 2, "total_tokens": 22}})
    data = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
    return server.send(200, data.encode(), "text/event-stream")


def busy(status, times, **headers):
    """A model that answers each request with a status so many times first."""

    def behave(server, body, attempt):
        if attempt <= times:
            return server.send(status, error("try again", kind="server_error"), **headers)
        return plain(server, body, attempt)

    return behave


def thinks_too_long(server, body, attempt):
    return server.send(200, completion(body, content=None, reasoning_content="The writer says that", _finish="length"))


def thinks_apart(server, body, attempt):
    return server.send(200, completion(body, reasoning_content="The writer says so, and so it is clear."))


def calls_a_tool(server, body, attempt):
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "sort", "arguments": json.dumps({"answer": label(body)})},
    }
    return server.send(200, completion(body, content=None, tool_calls=[call], _finish="tool_calls"))


def tells_no_tokens(server, body, attempt):
    return server.send(200, completion(body, _usage=False))


def filters_one(server, body, attempt):
    if "prize" in last_user(body):
        return server.send(400, error("the prompt was stopped by the content filter", "prompt", "content_filter"))
    return plain(server, body, attempt)


def filters_one_mildly(server, body, attempt):
    if "prize" in last_user(body):
        return server.send(200, completion(body, content="", _finish="content_filter"))
    return plain(server, body, attempt)


def filters_half(server, body, attempt):
    if "parcel" in last_user(body):
        return server.send(400, error("the prompt was stopped by the content filter", "prompt", "content_filter"))
    return plain(server, body, attempt)


def is_a_web_page(server, body, attempt):
    return server.send(200, b"<!DOCTYPE html><html><body><h1>Welcome to the gateway</h1></body></html>", "text/html")


def hangs_up_once(server, body, attempt):
    return server.cut(completion(body)) if attempt == 1 else plain(server, body, attempt)


def is_another_model(server, body, attempt):
    return server.send(200, completion(body, _model="some-other-model-7b"))


def answers_in_parts(server, body, attempt):
    return server.send(200, completion(body, content=[{"type": "text", "text": label(body)}]))


def error_in_200_once(server, body, attempt):
    return server.send(200, error("the upstream is busy", code=502)) if attempt == 1 else plain(server, body, attempt)


def fails_inside_once(server, body, attempt):
    return (
        server.send(200, completion(body, content=None, _finish="error"))
        if attempt == 1
        else plain(server, body, attempt)
    )


def wants_header(server, body, attempt):
    if server.headers.get("x-project") != "tickets":
        return server.send(400, error("the header x-project is missing"))
    return plain(server, body, attempt)


def no_system(server, body, attempt):
    if any(turn["role"] == "system" for turn in body["messages"]):
        return server.send(400, error("the template of this model has no system role", "messages"))
    return plain(server, body, attempt)


def too_long_for_one(server, body, attempt):
    if len(last_user(body)) > 2000:
        return server.send(
            400,
            error(
                "the prompt has 5012 tokens and the context of this model 4096", "messages", "context_length_exceeded"
            ),
        )
    return plain(server, body, attempt)


def breaks_for_one(server, body, attempt):
    if "prize" in last_user(body):
        return server.send(500, error("internal error", kind="server_error"))
    return plain(server, body, attempt)


BEHAVIOURS = {
    "plain": plain,
    "wants-max-completion-tokens": refuses(
        "max_tokens", "max_tokens is not known to this model, send max_completion_tokens"
    ),
    "no-temperature": refuses("temperature", "temperature cannot be set for this model"),
    "temperature-one": refuses(
        "temperature", "this model has the temperature 1 and no other", lambda value: value == 1
    ),
    "no-seed": refuses("seed", "seed is not known to this model"),
    "wants-parts": wants_parts,
    "wants-no-thinking": wants_no_thinking,
    "streams-only": streams_only,
    "busy-429": busy(429, 2, Retry_After=1),
    "busy-503": busy(503, 1),
    "busy-529": busy(529, 1),
    "timeout-408": busy(408, 1),
    "conflict-409": busy(409, 1),
    "thinks-too-long": thinks_too_long,
    "thinks-apart": thinks_apart,
    "calls-a-tool": calls_a_tool,
    "tells-no-tokens": tells_no_tokens,
    "filters-one": filters_one,
    "filters-one-mildly": filters_one_mildly,
    "filters-half": filters_half,
    "web-page": is_a_web_page,
    "hangs-up-once": hangs_up_once,
    "another-model": is_another_model,
    "answers-in-parts": answers_in_parts,
    "error-in-200-once": error_in_200_once,
    "fails-inside-once": fails_inside_once,
    "wants-header": wants_header,
    "no-system": no_system,
    "too-long-for-one": too_long_for_one,
    "breaks-for-one": breaks_for_one,
}


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ConnectionError):  # a client that did not wait
            super().handle_error(request, client_address)


def main():
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    server = Server(("127.0.0.1", port), Handler)
    print(f"http://127.0.0.1:{server.server_address[1]}/v1", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever(poll_interval=0.05)


if __name__ == "__main__":
    main()
