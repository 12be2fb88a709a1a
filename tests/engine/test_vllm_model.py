"""vLLM behind our interface. Where it is not installed, only that is tested: the message that says how to get it."""

from importlib.util import find_spec

import pytest
from references import generate_greedily, model_config

from whether.engine.local import LocalModel
from whether.engine.requests import ScoringRequest
from whether.engine.vllm import VLLMModel
from whether.errors import EngineError, MissingPackageError
from whether.model.tokens import encode
from whether.records import Choice, Decoding, JsonSchema, Message, Sampling

installed = find_spec("vllm") is not None
needs_vllm = pytest.mark.skipif(not installed, reason="vllm is not installed: pip install 'whether[vllm]'")

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
    with pytest.raises(MissingPackageError, match=r"needs the package 'vllm': pip install 'whether\[vllm\]'"):
        VLLMModel.load(tiny_model, None, model_config())


@pytest.fixture(scope="module")
def local(real_model):
    return LocalModel.load(real_model, None, model_config(threads=None))


@pytest.fixture(scope="module")
def served(real_model):
    return VLLMModel.load(real_model, None, model_config(), context_window=2048, cache_bytes=2**30)


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
    again = served.generate(CHATS, Decoding(12))
    assert all(answer.cached_tokens >= 64 for (answer,) in again), "the prefix cache is not used"


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
def test_checkpoint(local, real_model, tmp_path):
    from test_local import write_adapter

    write_adapter(real_model, tmp_path)
    tuned = local.with_checkpoint(tmp_path)
    served = VLLMModel.load(real_model, tmp_path, model_config(), context_window=512, cache_bytes=2**28)
    request = ScoringRequest(tuple(encode(local.tokenizer, CHATS[0]))[-60:], (5, 6))
    (ours,), (theirs,), (base,) = (model.loglikelihoods([request]) for model in (served, tuned, local))
    assert ours.log_likelihood == pytest.approx(theirs.log_likelihood, abs=2e-3)
    assert ours.log_likelihood != pytest.approx(base.log_likelihood, abs=0.1)


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
    with pytest.raises(EngineError, match=r"chat 0 has \d+ tokens.*2048"):
        served.generate([[Message("user", "word " * 3000)]], Decoding(4))
    with pytest.raises(EngineError, match=r"request 0 has 1 \+ 2047 tokens.*2048"):
        served.loglikelihoods([ScoringRequest((5,), (6,) * 2047)])
    with pytest.raises(EngineError, match="vLLM refuses the request"):
        served.generate(CHATS[:1], Decoding(4, constraint=JsonSchema({"type": "nonsense"})))
