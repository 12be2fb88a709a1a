"""Instructions rewritten by a served model: a real `transformers serve`, behind a proxy that counts and injects."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from serving import Proxy, content, sampling_copy, status, transformers_server

from whether.chat.templates import render_template
from whether.config import CONF, Config, PromptConfig, ReflectConfig, ServedConfig, TokenPrice, load
from whether.errors import ConfigError, EngineError
from whether.optimise.optimise import optimise
from whether.optimise.reflect import literal
from whether.records import CandidateRecord, OptimiseRecord, read_json, read_jsonl

ROOT = Path(__file__).parents[2]
Settings = Callable[..., Config]
PRICE = TokenPrice("2026-11-28", "a test", usd_per_1m_input=100.0, usd_per_1m_output=400.0)


@pytest.fixture(scope="module")
def folder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sampling_copy(tiny_model, tmp_path_factory.mktemp("served") / "tiny")


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with transformers_server(folder, tmp_path_factory.mktemp("served") / "log") as url:
        yield url


def reflect(proxy: Proxy, folder: Path, **served: Any) -> ReflectConfig:
    known: dict[str, Any] = {"attempts": 1, "price": PRICE, "max_cost": None}
    return ReflectConfig(
        ServedConfig(proxy.url, str(folder), **known | served), evaluations=60, minibatch=3, max_new_tokens=12
    )


def answer(text: str) -> Any:
    """What a strong model would say, in OpenAI's form."""
    usage = {"prompt_tokens": 100, "completion_tokens": 20}
    choice = {"message": {"role": "assistant", "content": f"Here it is:\n```\n{text}\n```"}, "finish_reason": "stop"}
    return content(json.dumps({"choices": [choice], "usage": usage}))


@pytest.mark.heavy
def test_a_served_model_rewrites_and_is_asked_once(
    artifacts: Path, settings: Settings, server: str, folder: Path
) -> None:
    with Proxy(server, [answer("Which queue? billing, tech or other. {{ say }} {% one %}")]) as proxy:
        config = settings(reflect=reflect(proxy, folder))
        found = optimise("base", config, artifacts=artifacts)
        record = read_json(found / "optimise.json", OptimiseRecord)
        assert len(proxy.arrived) == len(proxy.reached) + 1 >= 2
        [asked] = proxy.arrived[0][1]["messages"]
        assert asked["content"].startswith("I provided an assistant with the following instructions")
        assert "Which queue?" in asked["content"]
        assert "This is wrong. Right would be: " in asked["content"]
        before = {file.name: file.read_bytes() for file in found.iterdir()}
        proxy.arrived.clear()
        optimise("base", config, artifacts=artifacts)
        assert proxy.arrived == []
    assert {file.name: file.read_bytes() for file in found.iterdir()} == before
    assert (record.reflector, record.candidates) == (str(folder), 6 + record.rewritten)
    assert record.reflector_usd > 0
    assert yaml.safe_load((found / "best.yaml").read_text())["search_usd"] == pytest.approx(record.reflector_usd, 1e-3)
    written = [one for one in read_jsonl(found / "candidates.jsonl", CandidateRecord) if ", rewritten" in one.name]
    assert [one.examples for one in written] == [18] * record.rewritten
    assert all(PromptConfig(**one.prompt).labels_needed != 0 for one in written)


@pytest.mark.heavy
def test_the_limit_ends_it_and_what_there_is_counts(
    artifacts: Path, settings: Settings, server: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Proxy(server) as proxy:
        found = optimise("base", settings(reflect=reflect(proxy, folder, max_cost=1e-6)), artifacts=artifacts)
        assert proxy.arrived == []
    assert read_json(found / "optimise.json", OptimiseRecord).rewritten == 0
    assert "more than optimise.reflect.reflector.max_cost, which is $1e-06" in caplog.text


@pytest.mark.heavy
def test_a_server_that_fails_is_an_error_and_nothing_is_lost(
    artifacts: Path, settings: Settings, server: str, folder: Path
) -> None:
    with Proxy(server, [status(401)] * 2) as proxy:
        with pytest.raises(EngineError, match="401"):
            optimise("base", settings(reflect=reflect(proxy, folder)), artifacts=artifacts)
        assert not (artifacts / "optimise").exists()
        [journal] = Path(".state/optimise/base").glob("*.jsonl")
        before = journal.read_bytes()
        proxy.faults.clear()
        optimise("base", settings(reflect=reflect(proxy, folder)), artifacts=artifacts)
    assert journal.read_bytes().startswith(before)


def test_it_needs_a_price(artifacts: Path, settings: Settings, tmp_path: Path) -> None:
    with Proxy("http://127.0.0.1:1/v1") as proxy, pytest.raises(ConfigError, match="reflector needs its price"):
        optimise("base", settings(reflect=reflect(proxy, tmp_path, price=None)), artifacts=artifacts)


@pytest.mark.heavy
def test_the_shipped_settings_are_chosen_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    price = "{date: '2026-11-28', source: me, usd_per_1m_input: 1, usd_per_1m_output: 2}"
    changed = load(section="optimise", overrides=["optimise=reflective", f"reflect.reflector.price={price}", "first=9"])
    plain = load().optimise
    assert changed.optimise == replace(plain, first=9, reflect=changed.optimise.reflect)
    assert changed.optimise.reflect is not None
    assert changed.optimise.reflect.reflector.price == TokenPrice("2026-11-28", "me", 1.0, 2.0)
    with pytest.raises(ConfigError, match="reflectiv"):
        load(section="optimise", overrides=["optimise=reflectiv"])
    assert (ROOT / CONF / "optimise" / "reflective.yaml").is_file()


@pytest.mark.parametrize(
    "text", ["plain", "{{ a }} {% b %} {# c #}", "{{{ {%% {", "{% raw %}x{% endraw %}", '{"a": {}}']
)
def test_whatever_a_model_writes_is_text(text: str) -> None:
    assert render_template(literal(text), {}, "x") == text
