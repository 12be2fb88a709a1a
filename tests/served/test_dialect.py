"""What servers want otherwise: learnt from their refusals, said by settings, remembered, and never paid for twice."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scripted import Answer, Body, refused, said, scripted

from whether.config import RequestConfig, ServedConfig
from whether.errors import EngineError
from whether.records import Choice, Decoding, JsonSchema, Message, Sampling
from whether.served.dialect import Dialect, mended
from whether.served.model import ServedModel
from whether.served.refusal import Refusal, read_refusal

SAMPLED = Sampling(temperature=0.7, samples=2, seed=3)


def chats(*texts: str) -> list[list[Message]]:
    return [[Message("system", "Say yes."), Message("user", text)] for text in texts]


ASKED = chats("one", "two", "three", "four", "five")


def served(url: str, **settings: Any) -> ServedConfig:
    return ServedConfig(**{"base_url": url, "model": "m", "attempts": 2, "timeout": 10.0, "concurrency": 2, **settings})


def texts(answers: list[list[Any]]) -> list[str]:
    return [sample.text for samples in answers for sample in samples]


REFUSALS = {
    "OpenAI": refused(
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        "max_tokens", "unsupported_parameter",
    ),
    "no code": refused("max_tokens is not supported"),
    "pydantic": Answer({"detail": [
        {"type": "extra_forbidden", "loc": ["body", "max_tokens"], "msg": "Extra inputs are not permitted", "input": 9}
    ]}, 422),
    "a router": Answer({"error": {"message": "Provider returned error", "code": 400, "metadata": {
        "raw": "{\"error\": \"unknown field: max_tokens\"}", "provider_name": "p"
    }}}, 400),
    "inside 200": Answer({"error": {"message": "max_tokens: unknown parameter", "code": 400}}, 200),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_a_field_by_another_name_is_learnt_once_and_remembered(name: str, tmp_path: Path, caplog) -> None:
    def behave(body: Body) -> Answer:
        return REFUSALS[name] if "max_tokens" in body else said()

    journal = tmp_path / "answers.jsonl"
    with scripted(behave) as server, caplog.at_level(logging.WARNING, "whether"):
        assert texts(ServedModel(served(server.url), journal).generate(ASKED, Decoding(7))) == ["yes"] * 5
        assert [body.get("max_completion_tokens") for body in server.bodies] == [None] + [7] * 5
        assert len([one for one in caplog.records if "goes as max_completion_tokens" in one.getMessage()]) == 1
        more = ServedModel(served(server.url), journal)
        assert texts(more.generate(chats("six"), Decoding(7))) == ["yes"]
        assert len(server.bodies) == 7  # no refusal again
        assert more.record.rename == {"max_tokens": "max_completion_tokens"}
        assert more.record.learnt == ["max_tokens goes as max_completion_tokens"]


@pytest.mark.parametrize(
    ("field", "message", "code"),
    [
        (
            "temperature",
            "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1)",
            "",
        ),
        ("temperature", "`temperature` must be strictly positive", None),
        ("stop", "Unsupported parameter: 'stop'", "unsupported_parameter"),
        ("seed", "Unrecognized request argument supplied: seed", None),
        ("top_p", "temperature and top_p cannot both be specified for this model", None),
    ],
)
def test_what_can_go_is_left_out(field: str, message: str, code: str | None) -> None:
    def behave(body: Body) -> Answer:
        return refused(message, None, code) if field in body else said("yes|no")

    decoding = Decoding(7, stop=["|"], sampling=SAMPLED)
    with scripted(behave) as server:
        answers = ServedModel(served(server.url)).generate(ASKED, decoding)
    assert texts(answers) == ["yes"] * 10
    assert len(server.bodies) == 11
    assert set(server.bodies[0]) - set(server.bodies[-1]) == {field}


def test_a_temperature_of_zero_goes_as_the_nearest_to_it_and_others_as_they_are() -> None:
    def behave(body: Body) -> Answer:
        return refused("`temperature` must be strictly positive", "temperature") if not body["temperature"] else said()

    with scripted(behave) as server:
        model = ServedModel(served(server.url))
        model.generate(ASKED, Decoding(7))
        model.generate(ASKED, Decoding(7, sampling=SAMPLED))
    assert [body["temperature"] for body in server.bodies] == [0.0] + [0.01] * 5 + [0.7] * 10


def test_several_wants_are_learnt_one_after_the_other() -> None:
    def behave(body: Body) -> Answer:
        if body["messages"][0]["role"] == "system":
            return refused("System role not supported")
        if isinstance(body["messages"][0]["content"], str):
            return refused("Input should be a valid list", "messages.0.content")
        if "max_tokens" in body:
            return refused("unknown parameter", "max_tokens")
        if not body.get("stream"):
            return refused("This model only supports streaming: set stream=true")
        return Answer(
            b'data: {"choices": [{"delta": {"content": "yes"}, "finish_reason": "stop"}]}\n\n',
            200,
            {"Content-Type": "text/event-stream"},
        )

    with scripted(behave) as server:
        assert texts(ServedModel(served(server.url)).generate(ASKED, Decoding(7))) == ["yes"] * 5
    assert len(server.bodies) == 9
    assert server.bodies[-1]["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "Say yes.\n\nfive"}]}
    ]


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        (refused("unknown parameter", "top_k"), r"top_k|drop: \[top_k\]"),
        (refused("max_tokens is too large: 7. This model supports at most 4 completion tokens", "max_tokens"), "drop"),
        (refused("the header x-tenant-id is missing"), r"headers: \{x-tenant-id: \.\.\.\}"),
        (refused("Missing required parameter: 'safety_profile'"), r"add: \{safety_profile: \.\.\.\}"),
        (refused("something is wrong"), r"\(400\): something is wrong"),
    ],
)
def test_what_is_not_mended_is_explained_before_the_others_are_sent(answer: Answer, match: str) -> None:
    decoding = Decoding(7, sampling=Sampling(temperature=1.0, top_k=3))
    with scripted(lambda _: answer) as server, pytest.raises(EngineError, match=match):
        ServedModel(served(server.url)).generate(ASKED * 9, decoding)
    assert len(server.bodies) <= 3


def test_a_constraint_that_is_required_is_not_left_out() -> None:
    def behave(body: Body) -> Answer:
        return refused("response_format is not supported", "response_format") if "response_format" in body else said()

    with scripted(behave) as server, pytest.raises(EngineError, match="response_format"):
        ServedModel(served(server.url)).generate(ASKED, Decoding(7, constraint=JsonSchema({"type": "object"})))
    assert len(server.bodies) == 1


def test_settings_say_it_without_a_refusal(monkeypatch) -> None:
    monkeypatch.setenv("TENANT", "a-secret-tenant")
    request = RequestConfig(
        rename={"max_tokens": "limit"}, drop=["temperature"], add={"chat_template_kwargs": {"enable_thinking": False}},
        headers={"x-project": "tickets"}, headers_env={"x-api-key": "TENANT"}, content="parts", system="developer",
        thinking_effort="low", thinking_tokens=100,
    )  # fmt: skip
    with scripted(lambda _: said()) as server:
        ServedModel(served(server.url, request=request)).generate(ASKED[:1], Decoding(7))
    assert server.bodies == [
        {
            "model": "m", "limit": 107, "reasoning_effort": "low", "chat_template_kwargs": {"enable_thinking": False},
            "messages": [
                {"role": "developer", "content": [{"type": "text", "text": "Say yes."}]},
                {"role": "user", "content": [{"type": "text", "text": "one"}]},
            ],
        }
    ]  # fmt: skip
    assert (server.headers[0]["x-project"], server.headers[0]["x-api-key"]) == ("tickets", "a-secret-tenant")


def test_how_it_is_asked_is_not_paid_for_again_and_what_is_asked_is(tmp_path: Path) -> None:
    journal = tmp_path / "answers.jsonl"
    dialects: list[dict[str, Any]] = [
        {}, {"rename": {"max_tokens": "limit"}}, {"drop": ["temperature"]}, {"content": "parts"}, {"system": "user"},
        {"headers": {"x-project": "tickets"}}, {"stream": True},
    ]  # fmt: skip
    with scripted(lambda _: said()) as server:
        for dialect in dialects:
            config = served(server.url, request=RequestConfig(**dialect))
            assert texts(ServedModel(config, journal).generate(ASKED, Decoding(7))) == ["yes"] * 5
            assert not ServedModel(config, journal).pending_requests(ASKED, Decoding(7))
        assert len(server.bodies) == 5
        config = served(server.url, request=RequestConfig(thinking_effort="low"))
        assert len(ServedModel(config, journal).pending_requests(ASKED, Decoding(7))) == 5


def test_no_redirect_is_followed_and_the_key_stays_here(monkeypatch) -> None:
    monkeypatch.setenv("KEY", "a-secret-key")
    with scripted(lambda _: said("stolen")) as other:
        for status in (301, 302, 307, 308):
            moved = Answer({}, status, {"Location": f"{other.url}/chat/completions?key=a-secret-key"})
            with (
                scripted(lambda _, moved=moved: moved) as server,
                pytest.raises(EngineError, match=r"points to .*, which is not followed") as raised,
            ):
                ServedModel(served(server.url, api_key_env="KEY")).generate(ASKED, Decoding(7))
            assert "secret" not in str(raised.value)
            assert len(server.bodies) == 1
        assert (other.paths, other.bodies) == ([], [])


def test_secrets_of_headers_are_never_shown(monkeypatch, tmp_path: Path, caplog) -> None:
    monkeypatch.setenv("KEY", "a-secret-key")
    monkeypatch.setenv("TENANT", "a-secret-tenant")
    config = {"api_key_env": "KEY", "request": RequestConfig(headers_env={"x-tenant": "TENANT"})}
    echo = "wrong: a-secret-key of a-secret-tenant, and max_tokens is not supported"

    def behave(body: Body) -> Answer:
        return refused(echo, "max_tokens") if "max_tokens" in body else said(model="another")

    journal = tmp_path / "answers.jsonl"
    with scripted(behave) as server, caplog.at_level(logging.DEBUG):
        model = ServedModel(served(server.url, **config), journal)
        model.generate(ASKED, Decoding(7))
        for answer in (refused(echo, status=401), refused(echo, status=400), refused(echo, status=500)):
            server.behave = lambda _, answer=answer: answer
            with pytest.raises(EngineError) as raised:
                ServedModel(served(server.url, attempts=1, **config)).generate(ASKED, Decoding(7))
            assert "***" in str(raised.value)
            assert "secret" not in str(raised.value)
    kept = "".join(file.read_text() for file in tmp_path.iterdir() if file.is_file())
    assert "a-secret" not in kept + caplog.text + str(model.record) + repr(model.config)
    monkeypatch.delenv("TENANT")
    with pytest.raises(EngineError, match=r"variable TENANT, which request\.headers_env names"):
        ServedModel(served("http://127.0.0.1:1/v1", **config))


def test_settings_that_make_no_sense_are_refused_without_their_values() -> None:
    for wrong in (
        {"headers": {"Authorization": "Bearer a-hidden"}},
        {"headers": {"x-api-key": "a-hidden"}},
        {"headers": {"cookie": "a-hidden"}},
        {"headers": {"x project": "a-hidden"}},
        {"headers": {"x-project": "a-hidden\nx: y"}},
        {"headers": {"Host": "a-hidden"}},
        {"headers_env": {"x-key": "a-hidden"}},
        {"rename": {"messages": "a-hidden"}},
        {"drop": ["model"]},
        {"add": {"messages": "a-hidden"}},
        {"content": "a-hidden"},
        {"thinking_effort": "A-hidden"},
        {"thinking_tokens": -1},
        {"unknown": "a-hidden"},
    ):
        with pytest.raises(ValidationError) as raised:
            RequestConfig(**wrong)
        assert "hidden" not in str(raised.value), wrong


WORDS = st.text(st.characters(codec="utf-8"), max_size=200)


@given(WORDS, st.one_of(st.none(), WORDS), st.sampled_from([400, 403, 413, 422]))
def test_any_words_can_be_read_and_learning_ends(words: str, param: str | None, status: int) -> None:
    body = {
        "model": "m",
        "max_tokens": 3,
        "temperature": 0.0,
        "seed": 1,
        "messages": [{"role": "user", "content": "x"}],
    }
    for document in ({"error": {"message": words, "param": param}}, {"detail": words}, [words], words, None):
        refusal = read_refusal(status, document, words)
        dialect, steps = Dialect(), 0
        while (after := mended(dialect, body, refusal, frozenset())) is not None:
            assert after != dialect
            assert "messages" in after.sent(body)
            assert after.sent(body)["model"] == "m"
            dialect, steps = after, steps + 1
            assert steps < 12


@given(st.lists(st.sampled_from(["system", "user", "assistant"]), min_size=1, max_size=6), st.data())
def test_no_word_of_a_chat_is_lost_in_any_dialect(roles: list[str], data: st.DataObject) -> None:
    messages = [{"role": role, "content": f"text-{number}"} for number, role in enumerate(roles)]
    dialect = Dialect(
        content=data.draw(st.sampled_from(["text", "parts"])),
        system=data.draw(st.sampled_from(["system", "developer", "user"])), stream=data.draw(st.booleans()),
    )  # fmt: skip
    sent = dialect.sent({"model": "m", "messages": messages})
    written = json.dumps(sent["messages"])
    assert [written.count(message["content"]) for message in messages] == [1] * len(messages)
    assert messages == [{"role": role, "content": f"text-{number}"} for number, role in enumerate(roles)]
    if dialect.system == "user":
        assert sent["messages"][0]["role"] != "system"


@pytest.mark.parametrize(
    ("words", "code", "too_long", "filtered"),
    [
        ("This model's maximum context length is 4096 tokens. However, you requested 5000 tokens", "", True, False),
        ("prompt is too long: 210000 tokens > 200000 maximum", "", True, False),
        ("the request exceeds the available context size (2048 tokens)", "exceed_context_size_error", True, False),
        ("Please reduce the length of the messages", "", True, False),
        ("The response was filtered due to the prompt triggering our content management policy", "", False, True),
        ("Output blocked", "content_policy_violation", False, True),
        ("Your input was flagged for violence", "", False, True),
        ("max_tokens is too large: 9000. This model supports at most 4096 completion tokens", "", False, False),
        ("temperature cannot be set", "unsupported_parameter", False, False),
        ("Invalid API key", "invalid_api_key", False, False),
    ],
)
def test_what_a_refusal_speaks_of(words: str, code: str, too_long: bool, filtered: bool) -> None:
    refusal = Refusal(400, words, None, code)
    assert (refusal.is_too_long, refusal.is_filtered) == (too_long, filtered)


def test_a_choice_that_is_not_required_goes_where_the_server_refuses_it(tmp_path: Path) -> None:
    wished = Decoding(7, constraint=Choice(("yes", "no")), constraint_required=False)
    with scripted(lambda _: said()) as server:
        assert texts(ServedModel(served(server.url), tmp_path / "j.jsonl").generate(ASKED, wished)) == ["yes"] * 5
