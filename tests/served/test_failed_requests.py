"""Which faults are one request's own, which end the call, and what a paid answer that says nothing counts as."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import Answer, Body, refused, said, scripted

from whether.config import RequestConfig, ServedConfig, TokenPrice
from whether.errors import EngineError
from whether.records import Decoding, Message, Sampling, allowed_failures
from whether.served.budget import CostEstimator
from whether.served.chat import is_other_model
from whether.served.model import ServedModel
from whether.served.stream import join_stream


def chats(count: int, *marked: int) -> list[list[Message]]:
    return [[Message("user", f"{'bad' if number in marked else 'good'} {number}")] for number in range(count)]


def served(url: str, **settings: Any) -> ServedConfig:
    return ServedConfig(**{"base_url": url, "model": "m", "attempts": 2, "timeout": 10.0, "concurrency": 2, **settings})


def bad(body: Body) -> bool:
    return "bad" in str(body["messages"])


ROW_FAULTS = {
    "filter": (refused("stopped by the content filter", "prompt", "content_filter"), "content filter"),
    "too long": (refused("maximum context length is 9 tokens", "messages", "context_length_exceeded"), "context"),
    "too large": (refused("payload too large", status=413), r"\(413\)"),
    "more than a minute's": (refused("Request too large for m: limit 9 tokens per min", status=429), r"\(429\)"),
    "safety": (said("", "SAFETY"), "SAFETY"),
    "function": (said(None, "function_call", function_call={"name": "sort", "arguments": "{}"}), "tool sort"),
    "moderation": (refused("Your input was flagged", status=403), r"\(403\): Your input was flagged"),
    "no reason": (refused("bad request"), r"\(400\): bad request"),
    "broken": (refused("internal error", status=500), "answers 500: internal error"),
    "filtered answer": (said("", "content_filter"), "content_filter"),
    "cut by the filter": (said("I think", "content_filter"), "content_filter"),
    "tool": (said(None, "tool_calls", tool_calls=[{"function": {"name": "sort", "arguments": "{}"}}]), "tool sort"),
}


@pytest.mark.parametrize("place", [0, 2, 5])
@pytest.mark.parametrize("name", ROW_FAULTS)
def test_one_text_fails_and_the_others_are_answered(name: str, place: int, monkeypatch) -> None:
    monkeypatch.setattr("whether.served.http.MAX_BACKOFF", 0.01)
    fault, reason = ROW_FAULTS[name]
    with scripted(lambda body: fault if bad(body) else said()) as server:
        answers = ServedModel(served(server.url), most_failed=1).generate(chats(6, place), Decoding(4))
    found = [one for (one,) in answers]
    assert [one.text for one in found] == ["" if number == place else "yes" for number in range(6)]
    assert [number for number, one in enumerate(found) if one.error] == [place]
    assert re.search(reason, found[place].error or "")


def test_too_many_failures_end_the_call_with_their_number(tmp_path: Path) -> None:
    fault = ROW_FAULTS["filter"][0]
    with (
        scripted(lambda body: fault if bad(body) else said()) as server,
        pytest.raises(EngineError, match=r"3 of 10 requests have failed, more than the 2 that policy\.max_failed"),
    ):
        ServedModel(served(server.url), most_failed=2).generate(chats(10, 1, 3, 5, 7, 9), Decoding(4))
    with scripted(lambda body: fault if bad(body) else said()) as server:  # without a limit all are told apart
        answers = ServedModel(served(server.url)).generate(chats(10, 1, 3, 5, 7, 9), Decoding(4))
    assert sum(bool(one.error) for (one,) in answers) == 5


def test_samples_of_one_failed_text_count_once() -> None:
    fault = ROW_FAULTS["filter"][0]
    sampling = Sampling(temperature=1.0, samples=5)
    with scripted(lambda body: fault if bad(body) else said()) as server:
        answers = ServedModel(served(server.url), most_failed=2).generate(
            chats(8, 2, 3), Decoding(4, sampling=sampling)
        )
    assert [sum(bool(one.error) for one in samples) for samples in answers] == [0, 0, 5, 5, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("answer", "most", "match"),
    [
        (refused("no", status=401), 1, "401: no; set api_key_env"),
        (refused("your key has no access", status=403), 1, "403: your key has no access; set api_key_env"),
        (refused("pay first", status=402), 1, r"\(402\): pay first"),
        (refused("down", status=503), 4, r"answers 503: down \(2 attempts\)"),
        (refused("quota", status=429), 2, r"answers 429: quota \(2 attempts\)"),
        (Answer(b"<html>Welcome</html>"), 2, "something else than the API's JSON"),
        (
            said(None, "length", reasoning_content="The writer says"),
            3,
            "while the model was thinking.*first 3 requests",
        ),
        (said("<think>\nThe writer", "length"), 3, "request.thinking_tokens"),
        (ROW_FAULTS["tool"][0], 3, "tool_choice: none"),
    ],
)
def test_what_all_requests_meet_ends_the_call_early(answer: Answer, most: int, match: str, monkeypatch) -> None:
    monkeypatch.setattr("whether.served.http.MAX_BACKOFF", 0.01)
    with scripted(lambda _: answer) as server, pytest.raises(EngineError, match=match):
        ServedModel(served(server.url)).generate(chats(40), Decoding(4))
    assert len(server.bodies) <= most


def test_a_server_that_breaks_in_the_middle_ends_the_call(monkeypatch) -> None:
    monkeypatch.setattr("whether.served.http.MAX_BACKOFF", 0.01)
    count = iter(range(1000))

    def behave(_: Body) -> Answer:
        return said() if next(count) < 10 else refused("down", status=503)

    with scripted(behave) as server, pytest.raises(EngineError, match="answers 503: down"):
        ServedModel(served(server.url)).generate(chats(100), Decoding(4))
    assert len(server.bodies) < 25


def test_an_answer_cut_off_while_thinking_is_cut_off_and_its_tokens_are_paid(tmp_path: Path, caplog) -> None:
    usage = {"prompt_tokens": 20, "completion_tokens": 4, "completion_tokens_details": {"reasoning_tokens": 4}}
    cut = said(None, "length", reasoning_content="Well, the writer", usage=usage)
    with scripted(lambda body: cut if bad(body) else said(reasoning="Easy.", usage=usage)) as server:
        model = ServedModel(served(server.url), tmp_path / "j.jsonl", most_failed=0)
        (first,), (second,) = model.generate(chats(2, 1), Decoding(4))
        assert (first.text, first.thinking, first.thinking_tokens, first.finished) == ("yes", "Easy.", 4, True)
        assert (second.text, second.thinking, second.finished) == ("", "Well, the writer", False)
        assert second.error is None
        assert "1 of 2 answers were cut off while the model was thinking" in caplog.text
        assert model.generate(chats(2, 1), Decoding(4)) == [[first], [second]]
        assert len(server.bodies) == 2
        assert model.usage().output_tokens == 8


def test_thinking_that_only_the_total_counts_is_paid() -> None:
    usage = {"prompt_tokens": 20, "completion_tokens": 2, "total_tokens": 122}
    with scripted(lambda _: said(usage=usage)) as server:
        ((answer,),) = ServedModel(served(server.url)).generate(chats(1), Decoding(4))
    assert answer.output_tokens == 102


def test_an_estimate_holds_the_tokens_of_thinking() -> None:
    price = TokenPrice("2026-01-01", "a test", 0.0, 1e6)
    model = ServedModel(served("http://127.0.0.1:1/v1", price=price, request=RequestConfig(thinking_tokens=100)))
    estimator = CostEstimator(model, lambda _: 1)
    estimator.generate(chats(3), Decoding(4))
    assert estimator.estimate.output_tokens == 3 * 104
    assert estimator.estimate.usd == 3 * 104


def test_a_model_that_refuses_in_words_has_answered() -> None:
    with scripted(lambda _: said(None, refusal="I cannot say that.")) as server:
        ((answer,),) = ServedModel(served(server.url)).generate(chats(1), Decoding(4))
    assert (answer.text, answer.error) == ("I cannot say that.", None)


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "text", "text": "ye"}, {"type": "text", "text": "s"}], [{"text": "yes"}],
        {"type": "text", "text": "yes"},
        [{"type": "thinking", "thinking": [{"type": "text", "text": "no"}]}, {"type": "text", "text": "yes"}],
    ],
)  # fmt: skip
def test_parts_of_an_answer_are_its_text(content: Any) -> None:
    with scripted(lambda _: said(content)) as server:
        ((answer,),) = ServedModel(served(server.url)).generate(chats(1), Decoding(4))
    assert answer.text == "yes"


def test_an_added_stream_is_read() -> None:
    kind = {"Content-Type": "text/event-stream"}
    with scripted(lambda _: Answer(STREAM.encode(), 200, kind)) as server:
        config = served(server.url, request=RequestConfig(add={"stream": True}))
        ((answer,),) = ServedModel(config).generate(chats(1), Decoding(4))
    assert (answer.text, server.bodies[0]["stream"]) == ("yes", True)


@pytest.mark.parametrize(
    ("asked", "told", "other"),
    [
        ("gpt-4o", "gpt-4o-2024-08-06", False),
        ("openai/gpt-4o", "gpt-4o", False),
        ("/models/tiny", "tiny", False),
        ("Llama-3.3-70B", "llama-3.3-70b", False),
        ("small", "some-other-7b", True),
        ("gpt-4o", "gpt-4", False),
        ("m", "m@main", False),
    ],
)
def test_another_model_is_told_from_another_form_of_its_name(asked: str, told: str, other: bool) -> None:
    assert is_other_model(asked, told) == other


STREAM = "".join(
    f"data: {part}\r\n\r\n"
    for part in (
        '{"model": "m", "choices": [{"delta": {"role": "assistant", "content": null, "reasoning_content": "We"}}]}',
        '{"choices": [{"delta": {"reasoning_content": "ll"}}]}',
        '{"choices": [{"delta": {"content": "ye"}}]}',
        '{"choices": [{"delta": {"content": "s"}, "finish_reason": "stop"}]}',
        '{"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}',
        "[DONE]",
    )
)


def test_a_stream_is_put_together_and_a_torn_one_is_asked_again() -> None:
    whole = join_stream(": keep-alive\n\n" + STREAM)
    assert whole["choices"] == [
        {"message": {"role": "assistant", "content": "yes", "reasoning_content": "Well"}, "finish_reason": "stop"}
    ]
    assert whole["usage"] == {"prompt_tokens": 3, "completion_tokens": 2}
    torn = STREAM[: STREAM.index('data: {"choices": [{"delta": {"content": "s"}')]
    with pytest.raises(ValueError, match="ends before its answer does"):
        join_stream(torn)
    parts = iter([torn, STREAM])
    kind = {"Content-Type": "text/event-stream"}
    with scripted(lambda _: Answer(next(parts).encode(), 200, kind)) as server:
        config = served(server.url, request=RequestConfig(stream=True))
        ((answer,),) = ServedModel(config).generate(chats(1), Decoding(4))
    assert (answer.text, answer.input_tokens, answer.thinking) == ("yes", 3, "Well")
    assert all(body["stream"] and body["stream_options"] == {"include_usage": True} for body in server.bodies)


@given(st.integers(0, 10**6), st.floats(0, 1))
def test_allowed_failures(asked: int, share: float) -> None:
    allowed = allowed_failures(asked, share)
    assert allowed <= max(share * asked, min(3, asked / 4))
    assert (allowed == 0) if share == 0 else allowed >= int(share * asked)


@pytest.mark.parametrize(
    ("asked", "share", "allowed"),
    [(10, 0.02, 2), (3, 0.02, 0), (4, 0.02, 1), (64, 0.02, 3), (1000, 0.02, 20), (1000, 0.0, 0), (10, 0.5, 5)],
)
def test_allowed_failures_of_small_and_large_arms(asked: int, share: float, allowed: int) -> None:
    assert allowed_failures(asked, share) == allowed
