"""Chats answered by real servers on loopback, with faults between, equal what the model itself writes."""

import asyncio
import json
import random
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import httpx2
import pytest
from pydantic import ValidationError
from references import generate_greedily, model_config
from serving import (
    Proxy,
    content,
    cut,
    free_app,
    free_port,
    hang_up,
    running,
    sampling_copy,
    scoring_app,
    status,
    too_slow,
    transformers_server,
    without_usage,
)

from whether.config import ServedConfig
from whether.engine.local import LocalModel
from whether.engine.requests import ScoringRequest
from whether.errors import EngineError, RecordError
from whether.model.tokens import encode
from whether.records import Choice, Decoding, JsonSchema, Message, Sampling
from whether.served.http import MAX_RETRY_AFTER, _retry_after
from whether.served.journal import Entry, Journal
from whether.served.model import ServedModel

KEY = "a-key-of-no-value"
MODEL = "our-model"


@pytest.fixture(scope="session")
def served_folder(tiny_model, tmp_path_factory):
    return sampling_copy(tiny_model, tmp_path_factory.mktemp("served") / "tiny")


@pytest.fixture(scope="session")
def server(served_folder, tmp_path_factory):
    """Address of `transformers serve` with the tiny model."""
    with transformers_server(served_folder, tmp_path_factory.mktemp("served") / "log") as url:
        yield url


@pytest.fixture(scope="session")
def scoring_server(tiny):
    """Address of a server with log-probabilities, choices and a key."""
    with running(scoring_app(tiny, MODEL, KEY)) as url:
        yield url


@pytest.fixture
def config(served_folder):
    def make(url, **settings):
        return ServedConfig(**{"base_url": url, "model": str(served_folder), "timeout": 30.0, **settings})

    return make


@pytest.fixture
def keyed(monkeypatch, scoring_server):
    """Settings for the server that wants a key."""
    monkeypatch.setenv("WHETHER_TEST_KEY", KEY)
    return ServedConfig(scoring_server, MODEL, api_key_env="WHETHER_TEST_KEY", attempts=2)


def chats(count, seed=0):
    words = ["billing", "refund", "login", "crash", "hello", "日本", "né", "number", "seven", "and"]
    source = random.Random(seed)
    return [
        [Message("system", "Which queue?"), Message("user", " ".join(source.choices(words, k=source.randrange(1, 12))))]
        for _ in range(count)
    ]


def expected(local, asked, max_new_tokens=6):
    prompts = [encode(local.tokenizer, chat) for chat in asked]
    return generate_greedily(local, prompts, Decoding(max_new_tokens))


def texts(answers):
    return [answer.text for (answer,) in answers]


def test_answers_equal_the_model(tiny, server, config):
    asked = chats(12)
    answers = ServedModel(config(server)).generate(asked, Decoding(6))
    for (answer,), alone in zip(answers, expected(tiny, asked), strict=True):
        assert answer.text == alone.text
        assert answer.input_tokens == alone.input_tokens
        assert answer.token_ids is None
        assert answer.cached_tokens is None
        assert answer.output_tokens in (alone.output_tokens, alone.output_tokens + 1)  # the end of the turn counts
        assert answer.seconds > 0
    assert ServedModel(config(server)).generate([], Decoding(6)) == []


def test_equal_requests_are_one(tiny, server, config):
    one, two = chats(2)
    with Proxy(server) as proxy:
        answers = ServedModel(config(proxy.url)).generate([one, two, one, one], Decoding(6))
        thrice = ServedModel(config(proxy.url)).generate([one], Decoding(6, sampling=Sampling(samples=3)))
    assert len(proxy.reached) == 3
    assert texts(answers) == [answer.text for answer in expected(tiny, [one, two, one, one])]
    assert answers[0] == answers[2] == answers[3]
    assert thrice[0] == [thrice[0][0]] * 3


@pytest.mark.heavy
@pytest.mark.parametrize("concurrency", [1, 4])
def test_requests_go_side_by_side(server, config, concurrency):
    with Proxy(server, delay=0.05) as proxy:
        ServedModel(config(proxy.url, concurrency=concurrency)).generate(chats(12), Decoding(2))
    assert proxy.most_under_way == concurrency


def test_requests_say_what_was_asked(server, config):
    with Proxy(server) as proxy:
        model = ServedModel(config(proxy.url))
        model.generate(chats(1), Decoding(3, stop=["\n"]))
        model.generate(chats(1), Decoding(3, sampling=Sampling(temperature=0.7, top_p=0.9, seed=5)))
    greedy, sampled = proxy.reached
    messages = [message._asdict() for message in chats(1)[0]]
    base = {"model": model.config.model, "max_tokens": 3, "messages": messages}
    assert greedy == base | {"temperature": 0.0, "stop": ["\n"]}
    assert sampled == base | {"temperature": 0.7, "top_p": 0.9, "seed": sampled["seed"]}


@pytest.mark.heavy
def test_samples(server, config):
    asked = chats(3)
    sampling = Sampling(temperature=2.0, seed=3, samples=4)
    with Proxy(server) as proxy:
        # One at a time: `transformers serve` shares one generator among the requests that it works on.
        model = ServedModel(config(proxy.url, concurrency=1))
        answers = model.generate(asked, Decoding(8, sampling=sampling))
        again = model.generate(asked, Decoding(8, sampling=sampling))
        other = model.generate(asked, Decoding(8, sampling=sampling._replace(seed=4)))
    seeds = [body["seed"] for body in proxy.reached]
    assert len(set(seeds)) == 24
    assert seeds[:12] == seeds[12:24]
    assert [len(samples) for samples in answers] == [4, 4, 4]
    written = [[answer.text for answer in samples] for samples in answers]
    assert written == [[answer.text for answer in samples] for samples in again]
    assert all(len(set(samples)) > 1 for samples in written)
    assert written != [[answer.text for answer in samples] for samples in other]


def test_stop_strings_end_an_answer(tiny, server, config):
    asked = chats(4)
    stop = next(character for character in expected(tiny, asked)[0].text[1:] if character.isascii())
    answers = ServedModel(config(server)).generate(asked, Decoding(6, stop=[stop]))
    assert texts(answers) == [answer.text.split(stop)[0] for answer in expected(tiny, asked)]


NOT_PASSED_ON = {
    "429": status(429, Retry_After="1"),
    "500": status(500),
    "503 with a date": status(503, Retry_After=format_datetime(datetime.now(UTC))),
    "no JSON": content("<html>Welcome"),
    "half a JSON": content('{"choices": [{"mess'),
    "other JSON": content('{"choices": []}'),
    "hung up": hang_up,
}
PASSED_ON = {"cut": cut, "too slow": too_slow}


@pytest.mark.heavy
@pytest.mark.parametrize("name", [*NOT_PASSED_ON, *PASSED_ON])
def test_a_fault_loses_nothing(tiny, server, config, name):
    asked = chats(6)
    fault = (NOT_PASSED_ON | PASSED_ON)[name]
    with Proxy(server, [None, fault, None, fault]) as proxy:
        answers = ServedModel(config(proxy.url, timeout=3.0 if fault is too_slow else 30.0)).generate(
            asked, Decoding(6)
        )
    assert texts(answers) == [answer.text for answer in expected(tiny, asked)]
    assert len(proxy.arrived) == 8
    assert len(proxy.reached) == (8 if name in PASSED_ON else 6)
    assert {json.dumps(body) for body in proxy.reached} == {json.dumps(body) for _, body in proxy.arrived}


@pytest.mark.heavy
def test_many_faults_among_many_requests(tiny, server, config, monkeypatch, tmp_path):
    monkeypatch.setattr("whether.served.http.MAX_BACKOFF", 0.2)
    asked = chats(60, seed=1)
    asked += asked[:10]
    faults = [*NOT_PASSED_ON.values(), cut, None, None]
    script = random.Random(2).choices(faults[1:], k=60)
    journal = tmp_path / "journal.jsonl"
    with Proxy(server, script) as proxy:
        answers = ServedModel(config(proxy.url, attempts=50), journal).generate(asked, Decoding(6))
    assert texts(answers) == [answer.text for answer in expected(tiny, asked)]
    distinct = len({json.dumps(chat) for chat in asked})
    assert len(proxy.arrived) == distinct + sum(fault is not None for fault in script)
    assert len(proxy.reached) == distinct + script.count(cut)
    assert len(journal.read_text().splitlines()) == distinct


@pytest.mark.heavy
def test_retry_after_is_kept(server, config):
    with Proxy(server, [status(429, Retry_After="1")]) as proxy:
        ServedModel(config(proxy.url)).generate(chats(1), Decoding(2))
    (first, _), (second, _) = proxy.arrived
    assert second - first >= 1.0


def test_a_wait_of_hours_is_an_error(server, config):
    with (
        Proxy(server, [status(429, "quota used up", Retry_After="7200")]) as proxy,
        pytest.raises(EngineError, match=r"429: quota used up; it asks to wait 7200 s"),
    ):
        ServedModel(config(proxy.url)).generate(chats(1), Decoding(2))
    assert len(proxy.arrived) == 1


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        ("12", 12, 12),
        ("0.5", 0.5, 0.5),
        (timedelta(minutes=5), 200, 300),
        ("Wed, 21 Oct 2015 07:28:00 -0000", 0, 0),
        ("-3", 0, 0),
        ("nan", 0, 0),
        ("soon", 0, 0),
        (None, 0, 0),
    ],
)
def test_retry_after_header(value, low, high):
    if isinstance(value, timedelta):
        value = format_datetime(datetime.now(UTC) + value, usegmt=True)
    headers = {} if value is None else {"Retry-After": value}
    assert low <= _retry_after(httpx2.Response(429, headers=headers)) <= high
    assert MAX_RETRY_AFTER > 60


@pytest.mark.heavy
def test_a_server_that_comes_up_late(tiny, server, config):
    port = free_port()
    proxies = []
    timer = threading.Timer(0.5, lambda: proxies.append(Proxy(server, port=port).__enter__()))
    timer.start()
    answers = ServedModel(config(f"http://127.0.0.1:{port}/v1", attempts=20)).generate(chats(2), Decoding(6))
    proxies[0].__exit__()
    assert texts(answers) == [answer.text for answer in expected(tiny, chats(2))]


def test_no_server(config):
    url = f"http://127.0.0.1:{free_port()}/v1"
    with pytest.raises(
        EngineError, match=rf"the server at {url}/ cannot be reached: .* is base_url right\? \(2 attempts\)"
    ):
        ServedModel(config(url, attempts=2)).generate(chats(3), Decoding(2))


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (status(500, "out of memory"), r"answers 500: out of memory \(3 attempts\)"),
        (too_slow, r"gave no whole answer within 1 s: raise timeout, or lower concurrency \(3 attempts\)"),
        (hang_up, r"did not finish its answer: .* \(3 attempts\)"),
        (content("Welcome"), r"answers something else than the API's JSON .*'Welcome'"),
    ],
)
def test_attempts_come_to_an_end(server, config, fault, message):
    timeout = 1.0 if fault is too_slow else 30.0
    with Proxy(server, [fault] * 9) as proxy, pytest.raises(EngineError, match=message):
        ServedModel(config(proxy.url, attempts=3, timeout=timeout)).generate(chats(1), Decoding(2))
    assert len(proxy.arrived) == 3


@pytest.mark.parametrize("code", [402, 405, 410, 418])
def test_other_statuses_end_the_call_at_once(server, config, code):
    with (
        Proxy(server, [status(code, "this is why")], delay=0.1) as proxy,
        pytest.raises(EngineError, match=rf"refuses the request \({code}\): this is why"),
    ):
        ServedModel(config(proxy.url, concurrency=2)).generate(chats(10), Decoding(2))
    assert len(proxy.arrived) <= 3


def test_errors_of_a_real_server(server, config):
    with pytest.raises(EngineError, match=r"\(400\): Server is pinned to .*; requested 'other'"):
        ServedModel(config(server, model="other")).generate(chats(1), Decoding(2))
    with pytest.raises(EngineError, match=r"\(422\): Unexpected fields in the request: \{'top_k'\}"):
        ServedModel(config(server)).generate(chats(1), Decoding(2, sampling=Sampling(temperature=1.0, top_k=3)))
    with pytest.raises(
        EngineError, match=r"404 for chat/completions: Not Found; is base_url right\? It often ends in /v1"
    ):
        ServedModel(config(server.removesuffix("/v1"))).generate(chats(1), Decoding(2))


def test_unknown_model_lists_those_there_are(keyed):
    with pytest.raises(EngineError, match="has no model 'our-modle'; did you mean 'our-model'"):
        ServedModel(replace(keyed, model="our-modle")).generate(chats(1), Decoding(2))


def test_the_key_is_sent_and_never_shown(keyed, monkeypatch, tmp_path, caplog, capfd):
    journal = tmp_path / "journal.jsonl"
    model = ServedModel(keyed, journal)
    assert model.generate(chats(2), Decoding(3))
    assert KEY not in journal.read_text() + repr(vars(model)["config"]) + repr(keyed)
    monkeypatch.setenv("WHETHER_TEST_KEY", "a-wrong-key\n")
    with pytest.raises(EngineError, match=r"401: wrong key: Bearer \*\*\*; check .* variable WHETHER_TEST_KEY"):
        ServedModel(keyed).generate(chats(1), Decoding(2))
    with pytest.raises(EngineError, match=r"401: .*; set api_key_env"):
        ServedModel(replace(keyed, api_key_env=None)).generate(chats(1), Decoding(2))
    for value, message in (("", "WHETHER_TEST_KEY, .* is not set"), ("a-\nwrong-key", "no key can have")):
        monkeypatch.setenv("WHETHER_TEST_KEY", value)
        with pytest.raises(EngineError, match=message) as raised:
            ServedModel(keyed)
        assert "wrong" not in str(raised.value)
    shown = caplog.text + "".join(capfd.readouterr())
    assert KEY not in shown
    assert "a-wrong-key" not in shown


def test_settings_are_checked_and_show_no_secret():
    for wrong in (
        {"base_url": "http://me:a-secret@host/v1"},
        {"base_url": "https://host/v1?key=a-secret"},
        {"base_url": "host:8000"},
        {"base_url": "ftp://host/v1"},
        {"model": ""},
        {"api_key_env": "sk-a-secret"},
        {"api_key_env": "a_secret"},
        {"concurrency": 0},
        {"timeout": 0.0},
        {"attempts": 0},
        {"retries": 3},
    ):
        with pytest.raises(ValidationError) as raised:
            ServedConfig(**{"base_url": "https://host/v1", "model": "m", **wrong})
        assert "secret" not in str(raised.value)


@pytest.mark.heavy
def test_journal_sends_only_what_is_missing(tiny, server, config, tmp_path):
    asked, journal = chats(8), tmp_path / "folder" / "journal.jsonl"
    with Proxy(server) as proxy:
        model = ServedModel(config(proxy.url), journal)
        first = model.generate(asked[:5], Decoding(6))
        assert model.generate(asked[:5], Decoding(6)) == first
        assert len(proxy.reached) == 5
        every = ServedModel(config(proxy.url), journal).generate(asked[::-1], Decoding(6))
        assert len(proxy.reached) == 8
        assert every[::-1][:5] == first
        assert texts(every[::-1]) == [answer.text for answer in expected(tiny, asked)]
        model.generate(asked[:1], Decoding(5))
        model.generate(asked[:1], Decoding(6, stop=["x"]))
        model.generate(asked[:1], Decoding(6, sampling=Sampling(temperature=1.0, samples=2)))
        model.generate(asked[:1], Decoding(6, sampling=Sampling(temperature=1.0, samples=3)))
        assert len(proxy.reached) == 8 + 1 + 1 + 2 + 1


def test_a_torn_last_line_is_asked_for_again(server, config, tmp_path):
    asked, journal = chats(4), tmp_path / "journal.jsonl"
    with Proxy(server) as proxy:
        model = ServedModel(config(proxy.url), journal)
        first = model.generate(asked, Decoding(6))
        whole = journal.read_bytes()
        journal.write_bytes(whole[:-20])
        second = model.generate(asked, Decoding(6))
    assert len(proxy.reached) == 5
    assert texts(second) == texts(first)
    assert len([json.loads(line) for line in journal.read_text().splitlines()]) == 4
    journal.write_bytes(b"{}\n" + whole)
    with pytest.raises(RecordError, match=r"journal.jsonl, line 1: key"):
        model.generate(asked, Decoding(6))


def test_a_journal_belongs_to_one_process(server, config, tmp_path):
    model, other = (ServedModel(config(server), tmp_path / "journal.jsonl") for _ in range(2))
    with (
        model._endpoint._journal.open(),
        pytest.raises(EngineError, match=r"journal.jsonl is in use by another process"),
    ):
        other.generate(chats(1), Decoding(2))
    assert other.generate(chats(1), Decoding(2))


def test_a_full_disk_is_one_clear_error(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("/dev/full is Linux's")
    with pytest.raises(RecordError, match=r"/dev/full cannot be written: the disk is full"):
        Journal(Path("/dev/full")).add(Entry("key", 1.0, {}))


PROGRAM = """
import json, sys
from pathlib import Path
from whether.config import ServedConfig
from whether.records import Decoding, Message
from whether.served.model import ServedModel
settings, chats, journal = json.loads(sys.argv[1])
model = ServedModel(ServedConfig(**settings), Path(journal))
answers = model.generate([[Message(*message) for message in chat] for chat in chats], Decoding(6))
print(json.dumps([answer.text for (answer,) in answers]))
"""


@pytest.mark.heavy
def test_killed_and_run_again(tiny, server, config, tmp_path):
    asked, journal = chats(40, seed=4), tmp_path / "journal.jsonl"
    with Proxy(server, delay=0.1) as proxy:
        settings = {"base_url": proxy.url, "model": config(proxy.url).model, "concurrency": 4}
        command = [sys.executable, "-c", PROGRAM, json.dumps([settings, asked, str(journal)])]
        process = subprocess.Popen(command)
        deadline = time.monotonic() + 60
        while not journal.exists() or journal.read_bytes().count(b"\n") < 10:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        time.sleep(0.5)  # what was under way at the server is done
        finished = journal.read_bytes().count(b"\n")
        assert 10 <= finished < 40
        before = len(proxy.reached)
        assert finished <= before <= finished + settings["concurrency"]
        proxy.delay = 0.0
        output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
        assert len(proxy.reached) - before == len({json.dumps(chat) for chat in asked}) - finished
    assert json.loads(output) == [answer.text for answer in expected(tiny, asked)]


def test_token_counts_that_are_not_told_are_none(server, keyed, config):
    with Proxy(server, [without_usage]) as proxy:
        ((answer,),) = ServedModel(config(proxy.url)).generate(chats(1), Decoding(3))
    assert answer.text
    assert (answer.input_tokens, answer.cached_tokens, answer.output_tokens) == (None, None, None)
    ((answer,),) = ServedModel(keyed).generate(chats(1), Decoding(3))
    assert answer.cached_tokens == 3


@pytest.mark.heavy
def test_the_tour_in_the_docs(server, config, tmp_path, monkeypatch, capsys):
    tour = (Path(__file__).parents[2] / "docs" / "served.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", tour, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    program = program.replace("http://127.0.0.1:8000/v1", server).replace("artifacts/model", config(server).model)
    names = {}
    exec(program, names)
    assert [len(answers) for answers in names["several"]] == [3, 3]
    assert capsys.readouterr().out.count(" s\n") == 2


def test_works_inside_a_running_event_loop(server, config):
    async def notebook():
        return ServedModel(config(server)).generate(chats(1), Decoding(2))

    assert asyncio.run(notebook())


def test_settings_out_of_range_are_refused():
    for arguments, message in (
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"stop": "x"}, "stop"),
        ({"stop": [""]}, "stop"),
        ({"sampling": Sampling(samples=0)}, "samples must be at least 1"),
        ({"sampling": Sampling(temperature=-1.0)}, "temperature must be 0"),
    ):
        with pytest.raises(EngineError, match=message):
            Decoding(**{"max_new_tokens": 2, **arguments})


def test_choices(tiny, keyed, server, config):
    asked, labels = chats(5), ("billing", "tech", "other")
    answers = ServedModel(keyed).generate(asked, Decoding(6, constraint=Choice(labels)))
    for (answer,), chat in zip(answers, asked, strict=True):
        context = tuple(encode(tiny.tokenizer, chat))
        ends = [tuple(tiny.tokenizer(label, add_special_tokens=False)["input_ids"]) for label in labels]
        scores = tiny.loglikelihoods([ScoringRequest(context, end) for end in ends])
        assert answer.text == max(zip(scores, labels, strict=True))[1]
    with (
        Proxy(server) as proxy,
        pytest.raises(EngineError, match="does not say that it can hold an answer to given choices"),
    ):
        ServedModel(config(proxy.url)).generate(asked, Decoding(6, constraint=Choice(labels)))
    assert proxy.arrived == []


def test_choices_that_are_not_required_go_to_a_server_that_knows_them(tiny, keyed, server, config, tmp_path):
    asked, labels = chats(4), ("billing", "tech", "other")
    wished = Decoding(6, constraint=Choice(labels), constraint_required=False)
    answers = ServedModel(keyed).generate(asked, wished)
    assert texts(answers) == texts(ServedModel(keyed).generate(asked, replace(wished, constraint_required=True)))
    journal = tmp_path / "journal.jsonl"
    with Proxy(server) as proxy:
        model = ServedModel(config(proxy.url, attempts=1), journal)
        assert len(model.pending_requests(asked, wished)) == 4
        free = texts(model.generate(asked, wished))
        plain = texts(ServedModel(config(proxy.url)).generate(asked, Decoding(6)))
        assert free == plain
        assert not set(free) <= set(labels)
        first, again = ([body for _, body in proxy.arrived][start : start + 4] for start in (0, 4))
        assert sorted(first, key=str) == sorted(again, key=str)
    # Without the server: what is kept is found without asking it what it knows.
    assert texts(ServedModel(config(proxy.url, attempts=1), journal).generate(asked, wished)) == free
    assert model.pending_requests(asked, wished) == {}


def test_a_schema_that_is_not_required_is_sent_where_it_is_known_and_not_checked(config):
    schema = {"type": "object", "required": ["queue"]}
    wished = Decoding(6, constraint=JsonSchema(schema), constraint_required=False)
    for known in ({"response_format": {}}, {}, None):
        with running(free_app(known)) as url, Proxy(url) as proxy:
            assert texts(ServedModel(config(proxy.url, attempts=1)).generate(chats(1), wished)) == ["I think billing"]
        [(_, body)] = proxy.arrived
        assert ("response_format" in body) == bool(known)
        assert "constraint" not in json.dumps(body)


def test_a_schema_that_a_server_ignores_is_an_error(server, config, tmp_path):
    schema = {"type": "object", "required": ["queue"]}
    journal = tmp_path / "journal.jsonl"
    reply = '{"choices": [{"message": {"content": %s}, "finish_reason": "%s"}]}'
    right = content(reply % (json.dumps('{"queue": "billing"}'), "stop"))
    short = content(reply % (json.dumps('{"queue": "bil'), "length"))
    with Proxy(server, [right, short, content(reply % ('"{}"', "stop"))]) as proxy:
        model = ServedModel(config(proxy.url, concurrency=1), journal)
        answers = model.generate(chats(2), Decoding(6, constraint=JsonSchema(schema)))
        assert texts(answers) == ['{"queue": "billing"}', '{"queue": "bil']
        with pytest.raises(EngineError, match=r"did not keep its answer to JsonSchema.*it wrote '\{\}'"):
            model.generate(chats(5)[2:], Decoding(6, constraint=JsonSchema(schema)))
    sent = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
    assert [body["response_format"] for _, body in proxy.arrived] == [sent] * 3
    assert len(journal.read_text().splitlines()) == 2


@pytest.mark.real
def test_real_model(real_model, tmp_path):
    local = LocalModel.load(real_model, None, model_config(threads=None))
    asked = [[Message("user", text)] for text in ("What is the capital of France?", "Name a colour.", "2 + 2 =")]
    faults = [None, status(429, Retry_After="1"), cut]
    with transformers_server(real_model, tmp_path / "log") as server, Proxy(server, faults) as proxy:
        model = ServedModel(ServedConfig(proxy.url, str(real_model), concurrency=2), tmp_path / "journal.jsonl")
        answers = model.generate(asked, Decoding(8))
    alone = expected(local, asked, max_new_tokens=8)
    assert texts(answers) == [answer.text for answer in alone]
    assert "Paris" in answers[0][0].text
    assert [answer.input_tokens for (answer,) in answers] == [answer.input_tokens for answer in alone]
