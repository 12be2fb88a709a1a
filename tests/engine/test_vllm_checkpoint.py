"""Checkpoints in vLLM, in a file of their own: vLLM's state is the process's, so one model at a time can be loaded."""

import pytest
from references import model_config
from test_local import write_adapter
from test_vllm import CHATS, CONFIG, needs_vllm

from whether.engine.local import LocalModel
from whether.engine.requests import ScoringRequest
from whether.engine.vllm import VLLMModel
from whether.model.tokens import encode
from whether.records import Decoding

pytestmark = [pytest.mark.timeout(900), pytest.mark.filterwarnings("default")]


@needs_vllm
@pytest.mark.real
@pytest.mark.parametrize("options", [{}, {"use_dora": True}])
def test_an_adapter_is_merged(real_model, tmp_path, options):
    write_adapter(real_model, tmp_path, **options)
    local = LocalModel.load(real_model, None, model_config(threads=None))
    tuned = local.with_checkpoint(tmp_path)
    chats = [chat[1:] for chat in CHATS]
    request = ScoringRequest(tuple(encode(local.tokenizer, chats[0])), (5, 6))
    (theirs,), (base,) = (model.loglikelihoods([request]) for model in (tuned, local))
    expected = [answer.text for (answer,) in tuned.generate(chats, Decoding(12))]
    served = VLLMModel.load(real_model, tmp_path, CONFIG)
    (ours,) = served.loglikelihoods([request])
    assert ours.log_likelihood == pytest.approx(theirs.log_likelihood, abs=2e-3)
    assert ours.log_likelihood != pytest.approx(base.log_likelihood, abs=0.1)
    assert [answer.text for (answer,) in served.generate(chats, Decoding(12))] == expected
