"""Arms of a served model: a real `transformers serve` of the model that also answers here, with a proxy that counts."""

from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
from arms import run_arm
from references import model_config
from serving import Proxy, sampling_copy, status, transformers_server, without_usage

from whether.config import PromptConfig, RobustnessConfig, ServedConfig, ServingConfig, TokenPrice
from whether.errors import EngineError
from whether.generate.load import base_counter
from whether.prompt.requests import all_requests, read_inputs
from whether.records import Prediction, read_json, read_jsonl
from whether.served.budget import BudgetedModel

MODEL = model_config()
FEW_SHOT = PromptConfig(strategy={"_target_": "whether.prompt.strategies.few_shot", "examples": 3})
VOTING = PromptConfig(
    strategy={"_target_": "whether.prompt.strategies.zero_shot"},
    decoding={"_target_": "whether.outputs.decoding.self_consistency", "samples": 3},
)
ROBUSTNESS = RobustnessConfig(examples=3, formats=["input_colon", "labels_upper"], samples=2)
PRICE = TokenPrice("2026-11-27", "a test", usd_per_1m_input=100.0, usd_per_1m_output=400.0)


@pytest.fixture(scope="module")
def folder(tiny_model, tmp_path_factory) -> Path:
    return sampling_copy(tiny_model, tmp_path_factory.mktemp("served") / "tiny")


@pytest.fixture(scope="module")
def server(folder, tmp_path_factory):
    with transformers_server(folder, tmp_path_factory.mktemp("served") / "log") as url:
        yield url


@pytest.fixture
def artifacts(make_artifacts, tiny_model, label_task, examples, monkeypatch) -> Path:
    made = make_artifacts(tiny_model, label_task, examples)
    monkeypatch.chdir(made.parent)
    return made


def far(proxy: Proxy, folder: Path, **settings) -> ServedConfig:
    known = {"concurrency": 2, "attempts": 2, "price": PRICE, "max_cost": None}
    return ServedConfig(proxy.url, str(folder), **{**known, **settings})


def run(artifacts: Path, served: ServedConfig | None, prompt=FEW_SHOT, robustness=None) -> Path:
    checkpoint = "far" if served else "base"
    out = artifacts / "score" / f"{checkpoint}-it"
    run_arm(
        checkpoint, prompt, MODEL, ServingConfig(requests=2, warmup=0), 0, name=f"{checkpoint}-it",
        artifacts=artifacts, folder=out, robustness=robustness, served=served,
    )  # fmt: skip
    return out


def estimated(artifacts: Path, served: ServedConfig, prompt=FEW_SHOT, robustness=None):
    inputs = read_inputs(artifacts / "prepare")
    requests = chain(*all_requests("it", prompt, 0, inputs, robustness or RobustnessConfig(examples=0)))
    return BudgetedModel(served, "far", base_counter(artifacts / "model")).estimate(list(requests))


@pytest.mark.heavy
def test_it_answers_as_the_model_does_here_and_is_asked_once(artifacts, server, folder) -> None:
    own = read_jsonl(run(artifacts, None) / "predictions.jsonl", Prediction)
    with Proxy(server) as proxy:
        served = far(proxy, folder)
        out = run(artifacts, served)
        lines = read_jsonl(out / "predictions.jsonl", Prediction)
        assert len(proxy.reached) == len({line.prompt for line in lines})
        proxy.reached.clear()
        again = read_jsonl(run(artifacts, served) / "predictions.jsonl", Prediction)
        assert (again, proxy.reached) == (lines, [])
        run(artifacts, served, replace(FEW_SHOT, strategy={**FEW_SHOT.strategy, "examples": 2}))
        assert len(proxy.reached) == 20
    assert [(line.output, line.score, line.input_tokens) for line in lines] == [
        (line.output, line.score, line.input_tokens) for line in own
    ]
    assert lines[0].prompt.startswith("[system]\nWhich queue?")
    metrics = read_json(out / "metrics.json")
    assert (metrics["peak_memory"], metrics["n_latency"]) == (None, 20)
    assert not (out / "lm_eval").exists()


@pytest.mark.heavy
@pytest.mark.parametrize(("prompt", "robustness"), [(FEW_SHOT, ROBUSTNESS), (VOTING, None)])
def test_an_estimate_is_what_is_then_sent(artifacts, server, folder, prompt, robustness) -> None:
    with Proxy(server) as proxy:
        served = far(proxy, folder)
        before = estimated(artifacts, served, prompt, robustness)
        assert (proxy.reached, before.requests > 20) == ([], True)
        run(artifacts, replace(served, max_cost=before.usd), prompt, robustness)
        assert len(proxy.reached) == before.requests
        after = estimated(artifacts, served, prompt, robustness)
        assert (after.requests, after.usd) == (0, 0.0)
        budget = BudgetedModel(served, "far", base_counter(artifacts / "model"))
        used = budget.served.usage()
    assert used.input_tokens == before.input_tokens
    assert used.output_tokens <= before.output_tokens
    assert 0 < budget.spent() <= before.usd


@pytest.mark.heavy
def test_beyond_the_limit_nothing_is_sent(artifacts, server, folder) -> None:
    with Proxy(server) as proxy:
        need = estimated(artifacts, far(proxy, folder)).usd
        with pytest.raises(
            EngineError, match=r"arm far-it would cost up to \$.*far\.served\.max_cost.*Nothing was sent"
        ):
            run(artifacts, far(proxy, folder, max_cost=need * 0.99))
        assert proxy.reached == []
        run(artifacts, far(proxy, folder, max_cost=need))
        with pytest.raises(EngineError, match=r"\$0\.\d+ is spent"):  # what was spent counts for the next arm
            run(artifacts, far(proxy, folder, max_cost=need), VOTING)
        run(artifacts, far(proxy, folder, max_cost=0.0))  # all is there: nothing has to be paid


@pytest.mark.heavy
def test_a_run_that_broke_off_sends_what_is_missing(artifacts, server, folder) -> None:
    with Proxy(server, [None] * 7 + [status(402, "no more")]) as proxy:
        served = far(proxy, folder, concurrency=1)
        with pytest.raises(EngineError, match="no more"):
            run(artifacts, served)
        assert not (artifacts / "score" / "far-it").exists()
        run(artifacts, served)
        assert len(proxy.reached) == 20
        assert len({str(body["messages"]) for body in proxy.reached}) == 20


@pytest.mark.heavy
def test_a_server_that_does_not_tell_tokens(artifacts, server, folder) -> None:
    with Proxy(server, [without_usage]) as proxy:
        run(artifacts, far(proxy, folder, concurrency=1))
        budget = BudgetedModel(far(proxy, folder), "far", base_counter(artifacts / "model"))
        with pytest.raises(EngineError, match="does not report how many tokens an answer took"):
            budget.spent()
        free = replace(PRICE, usd_per_1m_input=0.0, usd_per_1m_output=0.0)
        assert BudgetedModel(far(proxy, folder, price=free), "far", base_counter(artifacts / "model")).spent() == 0.0
