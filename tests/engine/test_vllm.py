"""The backend vLLM: what it refuses is tested everywhere, what it answers where it is installed."""

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from references import generate_greedily, model_config

from whether.engine.backend import load_model
from whether.engine.local import LocalModel
from whether.engine.requests import ScoringRequest
from whether.engine.vllm import VLLMModel, check_checkpoint
from whether.errors import EngineError, MissingPackageError
from whether.generate.load import load_checkpoint
from whether.generate.protocol import LabelScorer
from whether.model.tokens import encode
from whether.records import Choice, Decoding, JsonSchema, Message, Sampling

installed = find_spec("vllm") is not None
needs_vllm = pytest.mark.skipif(not installed, reason="vllm is not installed: pip install 'whether[vllm]'")
CONFIG = replace(model_config(), backend="vllm", memory=2**30)

QUESTIONS = ["What is the capital of France?", "Name a colour.", "Is ice cold?", "2 + 2 ="]
CHATS = [[Message("system", "Answer in one short sentence. " * 30), Message("user", text)] for text in QUESTIONS]
COLOUR = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "blue"]}},
    "required": ["colour"],
    "additionalProperties": False,
}


@pytest.mark.skipif(installed, reason="vllm is installed here")
def test_without_vllm_the_command_to_install_it_is_named(tiny_model):
    message = r"^model.backend: vllm needs the package 'vllm': pip install 'whether\[vllm\]'$"
    with pytest.raises(MissingPackageError, match=message):
        load_checkpoint("base", tiny_model, None, CONFIG, None)


def write_checkpoint(folder: Path, kind: str, peft_type: str | None = None) -> Path:
    """Write what says what a checkpoint is, without its weights: nothing may be loaded before it is refused."""
    folder.mkdir()
    (folder / "checkpoint.json").write_text(json.dumps({"kind": kind, "labels": ["a", "b"]}))
    if peft_type:
        (folder / "adapter").mkdir()
        settings = {"peft_type": peft_type, "task_type": "CAUSAL_LM", "num_virtual_tokens": 5}
        (folder / "adapter" / "adapter_config.json").write_text(json.dumps(settings))
    return folder


@pytest.mark.parametrize(
    ("kind", "peft_type", "found"),
    [
        ("head", None, "a linear probe"),
        ("adapter", "PROMPT_TUNING", r"virtual tokens \(PROMPT_TUNING\)"),
        ("adapter", "PREFIX_TUNING", r"virtual tokens \(PREFIX_TUNING\)"),
    ],
)
def test_a_checkpoint_that_is_not_a_change_of_weights_is_refused_before_it_is_loaded(tmp_path, kind, peft_type, found):
    folder = write_checkpoint(tmp_path / "checkpoint", kind, peft_type)
    message = rf"checkpoint holds {found}, not a change of weights.*set model.backend to engine"
    with pytest.raises(EngineError, match=message):
        check_checkpoint(folder)


def test_an_adapter_without_settings_is_named(tmp_path):
    folder = write_checkpoint(tmp_path / "checkpoint", "adapter")
    with pytest.raises(EngineError, match=r"checkpoint/adapter cannot be read"):
        check_checkpoint(folder)


def test_the_engine_is_the_default_backend(tiny_model):
    assert isinstance(load_model(tiny_model, None, model_config()), LocalModel)


@pytest.fixture(scope="module")
def local(real_model):
    return LocalModel.load(real_model, None, model_config(threads=None))


@pytest.fixture(scope="module")
def served(local, real_model):
    """The base model in vLLM, loaded second: vLLM lets no one set the number of threads after it."""
    model = load_model(real_model, None, CONFIG)
    assert isinstance(model, VLLMModel)
    return model


pytestmark = [pytest.mark.timeout(900), pytest.mark.filterwarnings("default")]


@needs_vllm
@pytest.mark.real
def test_greedy_answers_are_those_of_a_local_model(local, served):
    prompts = [encode(local.tokenizer, chat) for chat in CHATS]
    expected = generate_greedily(local, prompts, Decoding(12, stop=["."]))
    answers = served.generate(CHATS, Decoding(12, stop=["."]))
    for (answer,), other in zip(answers, expected, strict=True):
        assert (answer.token_ids, answer.text, answer.input_tokens) == (
            other.token_ids,
            other.text,
            other.input_tokens,
        )
    (first, *others) = served.generate(CHATS, Decoding(12))
    assert first[0].cached_tokens == 0, "an earlier call's prefixes are still there"
    assert all(answer.cached_tokens >= 64 for (answer,) in others), "the prefix cache is not used"


@needs_vllm
@pytest.mark.real
def test_log_likelihoods_are_those_of_a_local_model(local, served):
    prompts = [tuple(encode(local.tokenizer, chat)) for chat in CHATS]
    labels = [tuple(local.tokenizer(text)["input_ids"]) for text in ("Paris", "Yes, very cold.", "4", "")]
    requests = [ScoringRequest(prompt, label) for prompt in prompts for label in labels] + [
        ScoringRequest((), prompts[0][:9])
    ]
    for ours, theirs in zip(served.loglikelihoods(requests), local.loglikelihoods(requests), strict=True):
        assert ours.log_likelihood == pytest.approx(theirs.log_likelihood, abs=2e-3)
        assert (ours.is_greedy, ours.tokens) == (theirs.is_greedy, theirs.tokens)


@needs_vllm
@pytest.mark.real
def test_scores_of_labels_are_those_of_a_local_model(local, served):
    assert isinstance(served, LabelScorer)
    block = served.engine.llm_engine.vllm_config.cache_config.block_size
    # Contexts of every length around a block's end: where all of one is cached, vLLM leaves out a probability.
    chats = [[Message("system", "word " * 200), Message("user", "word " * more)] for more in range(block + 1)]
    labels = ["yes", "yes, very", "no"]
    found = served.score_labels(chats, labels)
    for ours, theirs in zip(found, local.score_labels(chats, labels), strict=True):
        assert [one.log_likelihood for one in ours.scores] == pytest.approx(
            [one.log_likelihood for one in theirs.scores], abs=2e-3
        )
        assert ours.input_tokens == theirs.input_tokens
    assert sum(one.cached_tokens >= 128 for one in found) > block // 2, "the prefix cache is not used"


@needs_vllm
@pytest.mark.real
def test_constraints_and_samples(served):
    for (answer,) in served.generate(CHATS, Decoding(8, constraint=Choice(("red", "green")))):
        assert answer.text in ("red", "green")
    for (answer,) in served.generate(CHATS, Decoding(40, constraint=JsonSchema(COLOUR))):
        assert "colour" in answer.text
    sampling = Sampling(temperature=1.0, seed=3, samples=3)
    drawn = served.generate(CHATS, Decoding(8, sampling=sampling))
    assert len({answer.text for answer in drawn[0]}) > 1
    alone = served.generate(CHATS[:1], Decoding(8, sampling=sampling))
    assert [answer.text for answer in alone[0]] == [answer.text for answer in drawn[0]]
    (twice,) = served.generate(CHATS[:1], Decoding(4, sampling=Sampling(samples=2)))
    assert twice[0].text == twice[1].text


@needs_vllm
@pytest.mark.real
def test_what_it_refuses(served):
    with pytest.raises(EngineError, match=r"chat 0 has \d+ tokens.*8192"):
        served.generate([[Message("user", "word " * 9000)]], Decoding(4))
    with pytest.raises(EngineError, match=r"request 0 has 1 \+ 8191 tokens.*8192"):
        served.loglikelihoods([ScoringRequest((5,), (6,) * 8191)])
    with pytest.raises(EngineError, match="vLLM refuses the request"):
        served.generate(CHATS[:1], Decoding(4, constraint=JsonSchema({"type": "nonsense"})))
