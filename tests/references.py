"""The slow and simple ways to score and to generate that the engine is compared with."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from whether.config import ModelConfig
from whether.engine.local import LocalModel
from whether.engine.requests import ScoringRequest
from whether.engine.sampling import random_generator
from whether.outputs.kinds import output_of
from whether.outputs.output import score_answer
from whether.records import Decoding, Generation, Sampling, Task


def model_config(dtype: str = "float32", threads: int | None = 1) -> ModelConfig:
    """Return settings to load a model with. One thread: a tiny model only waits for a second one."""
    source = {"_target_": "not.used"}
    return ModelConfig(name="tiny", source=source, licence="none", dtype=dtype, device="cpu", threads=threads)


def naive_score(model: Any, request: ScoringRequest) -> tuple[float, bool]:
    """Score one request as one sequence, without cache, mask or batch."""
    import torch

    if not request.continuation:
        return 0.0, True
    tokens = torch.tensor([[*request.context, *request.continuation]])
    with torch.inference_mode():
        log_probabilities = model(tokens).logits[0].double().log_softmax(-1)
    places = range(len(request.context) - 1, tokens.shape[1] - 1)
    total = sum(log_probabilities[place, tokens[0, place + 1]].item() for place in places)
    return total, all(log_probabilities[place].argmax() == tokens[0, place + 1] for place in places)


def transformers_tokens(local: LocalModel, prompt: Sequence[int], max_new_tokens: int) -> list[int]:
    """Continue one prompt with transformers' own greedy generate."""
    import torch

    inputs = torch.tensor([list(prompt)])
    output = local.model.generate(
        inputs,
        attention_mask=torch.ones_like(inputs),
        do_sample=False,
        max_new_tokens=max_new_tokens,
        eos_token_id=sorted(local.eos_token_ids),
        pad_token_id=local.tokenizer.eos_token_id,
    )
    return [token for token in output[0, len(prompt) :].tolist() if token not in local.eos_token_ids]


def naive_sample(
    local: LocalModel, prompt: Sequence[int], max_new_tokens: int, sampling: Sampling, sample: int
) -> list[int]:
    """Draw one sample alone, one whole forward pass a token, from the distribution that transformers makes."""
    import torch

    generator, tokens = random_generator(sampling, tuple(prompt), sample), list(prompt)
    while len(tokens) < len(prompt) + max_new_tokens:
        probabilities = transformers_distribution(local, tokens, sampling)
        noise = torch.from_numpy(generator.standard_exponential(len(probabilities)))
        token = int((probabilities / noise).argmax())
        if token in local.eos_token_ids:
            break
        tokens.append(token)
    return tokens[len(prompt) :]


def transformers_distribution(local: LocalModel, tokens: Sequence[int], sampling: Sampling) -> Any:
    """Return the probabilities [vocabulary] that transformers' own `generate(do_sample=True)` draws from."""
    import torch

    inputs = torch.tensor([list(tokens)])
    output = local.model.generate(
        inputs,
        attention_mask=torch.ones_like(inputs),
        do_sample=True,
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        max_new_tokens=1,
        pad_token_id=0,
        output_scores=True,
        return_dict_in_generate=True,
    )
    return output.scores[0][0].softmax(-1)


def naive_logits(model: Any, tokens: Sequence[int]) -> Any:
    """Return the logits [vocabulary] after one sequence."""
    import torch

    with torch.inference_mode():
        return model(torch.tensor([list(tokens)])).logits[0, -1]


def generate_greedily(local: LocalModel, prompts: Sequence[Sequence[int]], decoding: Decoding) -> list[Generation]:
    """Return the engine's one answer to each prompt."""
    return [answer for (answer,) in local.generate_tokens(prompts, decoding)]


class ParsedAnswer(NamedTuple):
    """What was understood of one output."""

    answer: str | None
    score: float

    @property
    def valid(self) -> bool:
        """Whether the output has the form that the task asks for."""
        return self.answer is not None


def parser(task: Task) -> Callable[[str, str], ParsedAnswer]:
    """Return a function from (output, target) to what is understood of the output."""
    kind = output_of(task)

    def parse(output: str, target: str) -> ParsedAnswer:
        answer = kind.parse(output)
        return ParsedAnswer(answer, score_answer(kind, answer, target))

    return parse
