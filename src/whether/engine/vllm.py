"""A model in vLLM, the optional extra `vllm`: what answers with `model.backend: vllm`.

vLLM batches requests by itself and keeps the keys and values of prompts in a cache that later requests share. The cache
is emptied at the start of each call, so that, as in `LocalModel`, what a call costs does not depend on earlier ones.
"""

import hashlib
import json
import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from whether.config import ModelConfig
from whether.engine.requests import ScoringRequest
from whether.errors import EngineError, MissingPackageError
from whether.model.info import cpu_count, eos_token_ids, prefix_token_id
from whether.model.loading import apply_checkpoint, checkpoint_kind, error_summary, load_base, load_tokenizer
from whether.model.memory import default_budget
from whether.model.precision import precision_of
from whether.model.tokens import encode, encode_answer
from whether.records import (
    GREEDY,
    Choice,
    ContinuationScore,
    Decoding,
    Generation,
    JsonSchema,
    LabelScores,
    Message,
    Sampling,
)

if TYPE_CHECKING:
    from vllm import LLM, CompletionOutput, RequestOutput, SamplingParams

logger = logging.getLogger(__name__)

ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    # In this process: its peak memory is then the model's, and on a CPU nothing waits for messages.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    # On a CPU threads follow model.threads; vLLM's own way keeps a core back and binds the others.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
"""How vLLM is started, where the environment does not say otherwise."""


class VLLMModel:
    """A causal language model in vLLM: a `ChatModel` and a `LabelScorer`.

    In float32 greedy answers and log-likelihoods are those of `LocalModel` up to rounding, which may tip a near tie.
    A process can have one at a time: when vLLM ends one, it takes down what another would share with it.
    """

    is_probe = False
    """A linear probe does not run in vLLM."""

    def __init__(self, engine: "LLM", tokenizer: Any):
        """Wrap a running engine and its model's tokenizer."""
        from transformers import GenerationConfig

        self.engine = engine
        self.tokenizer = tokenizer
        self._keeps_prefixes = False
        self.context_window = int(engine.model_config.max_model_len)
        """Most tokens of a prompt and its answer together."""
        generation = GenerationConfig(eos_token_id=engine.model_config.try_get_generation_config().get("eos_token_id"))
        self.eos_token_ids = eos_token_ids(generation, tokenizer)
        """Tokens that end an answer."""

    @classmethod
    def load(cls, model_folder: Path, checkpoint_folder: Path | None, config: ModelConfig) -> "VLLMModel":
        """Start vLLM with a model folder and a checkpoint, whose change of weights is merged into a temporary copy.

        `config.memory` is the room for keys and values in bytes; None: on a CPU half of what is free, at most 4 GiB, on
        a GPU what vLLM finds free. The context window is the model's own, or what fits into that room. Which device is
        used is settled by the build of vLLM that is installed. Raises MissingPackageError without vLLM, and EngineError
        for what it cannot run: before any weights are loaded.
        """
        if find_spec("vllm") is None:
            raise MissingPackageError("vllm", "vllm", "model.backend: vllm")
        check_checkpoint(checkpoint_folder)
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        import torch
        from vllm import LLM
        from vllm.platforms import current_platform

        if config.device not in ("auto", current_platform.device_type):
            raise EngineError(
                f"model.device is {config.device}, and the installed vLLM runs on {current_platform.device_type}:"
                " set model.device to auto"
            )
        torch.set_num_threads(config.threads or cpu_count())
        dtype = precision_of(config)
        tokenizer = load_tokenizer(model_folder)
        on_cpu = current_platform.is_cpu()
        with _merged(model_folder, checkpoint_folder, dtype) as folder:
            try:
                engine = LLM(
                    str(folder),
                    tokenizer=str(model_folder),
                    dtype=dtype,
                    max_model_len=-1,
                    kv_cache_memory_bytes=config.memory or (default_budget(torch.device("cpu")) if on_cpu else None),
                    block_size=32 if on_cpu else None,  # vLLM's own for a CPU is 128, and only whole blocks are shared
                    enable_prefix_caching=True,
                    # Compiling takes minutes on a CPU, more than an arm's answers gain by it.
                    enforce_eager=on_cpu,
                )
            except Exception as error:
                raise EngineError(f"vLLM cannot load {folder}: {error_summary(error)}") from error
            return cls(engine, tokenizer)

    @contextmanager
    def keeping_prefix(self) -> Iterator[None]:
        """Calls meanwhile find in the cache what earlier ones began with: for requests that are sent one at a time."""
        self._keeps_prefixes = True
        try:
            yield
        finally:
            self._keeps_prefixes = False

    def _forget_prefixes(self) -> None:
        if not self._keeps_prefixes:
            self.engine.reset_prefix_cache()

    def generate(
        self, chats: Sequence[Sequence[Message]], decoding: Decoding, *, progress: str | None = None
    ) -> list[list[Generation]]:
        """Return `decoding.sampling.samples` answers to each chat, in the order of the chats.

        `cached_tokens` are those that vLLM found in its cache, in whole blocks. Raises EngineError for a chat that does
        not leave room for the answer, and for a constraint that vLLM refuses, where it is required; where it is not, a
        warning says why answers are written without.
        """
        sampling, max_new_tokens = decoding.sampling, decoding.max_new_tokens
        prompts = [encode(self.tokenizer, chat) for chat in chats]
        for index, prompt in enumerate(prompts):
            if len(prompt) + max_new_tokens > self.context_window:
                raise EngineError(
                    f"chat {index} has {len(prompt)} tokens, and with {max_new_tokens} new ones it does not fit into"
                    f" the context window of {self.context_window}: use fewer or shorter examples"
                )
        settings = _sampling_params(
            sampling,
            decoding.constraint,
            max_tokens=max_new_tokens,
            stop=list(decoding.stop),
            stop_token_ids=sorted(self.eos_token_ids),
        )
        start = time.perf_counter()
        self._forget_prefixes()
        try:
            outputs = self._run(prompts, [_seeded(settings, prompt) for prompt in prompts], progress)
        except EngineError as error:
            if decoding.constraint is None or decoding.constraint_required:
                raise
            logger.warning("answers are not constrained: %s", error)
            return self.generate(chats, replace(decoding, constraint=None), progress=progress)
        each = (time.perf_counter() - start) / max(1, len(chats) * sampling.samples)
        # vLLM writes a greedy answer only once: its samples are all the same.
        repeats = 1 if sampling.temperature else sampling.samples
        return [
            [self._generation(output, part, decoding, each) for part in output.outputs] * repeats for output in outputs
        ]

    def loglikelihoods(self, requests: Sequence[ScoringRequest]) -> list[ContinuationScore]:
        """Return how likely each request's continuation is after its context.

        An empty context stands for the token that begins a text (bos, or eos where there is none). Raises EngineError
        for a request that is longer than the context window less the one token that vLLM always adds.
        """
        return [score for score, _ in self._score(requests)]

    def score_labels(self, chats: Sequence[Sequence[Message]], answers: Sequence[str]) -> list[LabelScores]:
        """Return for each chat how likely each of the answers is, the turn's end included (`LabelScorer`)."""
        start = time.perf_counter()
        contexts = [tuple(encode(self.tokenizer, chat)) for chat in chats]
        endings = [tuple(encode_answer(self.tokenizer, answer)) for answer in answers]
        scored = self._score([ScoringRequest(context, ending) for context in contexts for ending in endings])
        seconds = (time.perf_counter() - start) / max(1, len(chats))
        width = len(answers)
        own = [scored[index * width : (index + 1) * width] for index in range(len(contexts))]
        return [
            LabelScores(
                scores=[score for score, _ in pairs],
                input_tokens=len(context),
                cached_tokens=min(cached for _, cached in pairs),
                seconds=seconds,
            )
            for context, pairs in zip(contexts, own, strict=True)
        ]

    def _score(self, requests: Sequence[ScoringRequest]) -> list[tuple[ContinuationScore, int]]:
        """Return each request's score and how many tokens of its context were in the cache."""
        filled = [
            ScoringRequest(tuple(context) or (prefix_token_id(self.tokenizer),), tuple(rest))
            for context, rest in requests
        ]
        for index, (context, rest) in enumerate(filled):
            if len(context) + len(rest) >= self.context_window:
                raise EngineError(
                    f"request {index} has {len(context)} + {len(rest)} tokens, and vLLM scores less than its context"
                    f" window of {self.context_window}: shorten its context"
                )
        asked = [request for request in filled if request.continuation]
        self._forget_prefixes()
        outputs = self._prompt_scores(asked, cached=True)
        # vLLM computes no probability that follows a cached token. Where all of a context is cached, that is the first
        # one of the continuation, and vLLM leaves what happened to be in memory there: such a request is asked again.
        lost = [
            index
            for index, (request, output) in enumerate(zip(asked, outputs, strict=True))
            if (output.num_cached_tokens or 0) >= len(request.context)
        ]
        for index, output in zip(lost, self._prompt_scores([asked[one] for one in lost], cached=False), strict=True):
            outputs[index] = output
        found = iter(zip(asked, outputs, strict=True))
        return [_score(*next(found)) if request.continuation else (_NOTHING, 0) for request in filled]

    def _prompt_scores(self, requests: Sequence[ScoringRequest], *, cached: bool) -> "list[RequestOutput]":
        settings = _sampling_params(
            GREEDY, None, max_tokens=1, prompt_logprobs=0, detokenize=False, skip_reading_prefix_cache=not cached
        )
        return self._run([[*context, *rest] for context, rest in requests], settings, None)

    def _run(
        self,
        prompts: Sequence[Sequence[int]],
        settings: "SamplingParams | Sequence[SamplingParams]",
        progress: str | None,
    ) -> "list[RequestOutput]":
        from vllm import TokensPrompt
        from vllm.exceptions import VLLMClientError

        if not prompts:
            return []
        inputs = [TokensPrompt(prompt_token_ids=list(prompt)) for prompt in prompts]
        try:
            outputs = self.engine.generate(inputs, settings, use_tqdm=progress is not None and sys.stderr.isatty())
        except (ValueError, VLLMClientError) as error:
            raise EngineError(f"vLLM refuses the request: {error_summary(error)}") from error
        return list(outputs)

    def _generation(
        self, output: "RequestOutput", part: "CompletionOutput", decoding: Decoding, seconds: float
    ) -> Generation:
        new = list(part.token_ids)
        if new and new[-1] in self.eos_token_ids:
            new.pop()
        return Generation(
            token_ids=new,
            text=decoding.cut(self.tokenizer.decode(new, skip_special_tokens=True)),
            input_tokens=len(output.prompt_token_ids or ()),
            cached_tokens=output.num_cached_tokens or 0,
            output_tokens=len(new),
            seconds=seconds,
            finished=part.finish_reason != "length",
        )


def _seeded(settings: "SamplingParams", prompt: Sequence[int]) -> "SamplingParams":
    """Return settings with a seed that follows from theirs and the prompt.

    vLLM gives the samples of a prompt this seed, the next one and so on: prompts and calls must not be neighbours.
    """
    own = settings.clone()
    if settings.seed is not None:
        own.seed = int.from_bytes(hashlib.sha256(json.dumps([settings.seed, *prompt]).encode()).digest()[:7])
    return own


def _sampling_params(sampling: Sampling, constraint: Choice | JsonSchema | None, **settings: Any) -> "SamplingParams":
    from vllm import SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    structure = None
    if isinstance(constraint, Choice):
        structure = StructuredOutputsParams(choice=list(constraint.texts))
    elif isinstance(constraint, JsonSchema):
        structure = StructuredOutputsParams(json=constraint.schema)
    return SamplingParams(
        n=sampling.samples if sampling.temperature else 1,
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        seed=sampling.seed,
        structured_outputs=structure,
        **settings,
    )


_NOTHING = ContinuationScore(0.0, True, 0)


def _score(request: ScoringRequest, output: "RequestOutput") -> tuple[ContinuationScore, int]:
    """Add up what vLLM reports of the prompt's last tokens: {token id: its log-probability and rank} at each place."""
    places = output.prompt_logprobs[len(request.context) :]
    found = [place[token] for place, token in zip(places, request.continuation, strict=True)]
    total = sum(token.logprob for token in found)
    cached = output.num_cached_tokens or 0
    return ContinuationScore(total, all(token.rank == 1 for token in found), len(found)), cached


def check_checkpoint(folder: Path | None) -> None:
    """Raise EngineError for a checkpoint that is not a change of weights: vLLM runs weights only. None is base."""
    kind = "base" if folder is None else checkpoint_kind(folder)
    found = "a linear probe" if kind == "head" else None
    if folder is not None and kind == "adapter":
        from peft import PeftConfig

        try:
            settings = PeftConfig.from_pretrained(str(folder / "adapter"))
        except Exception as error:
            raise EngineError(f"{folder / 'adapter'} cannot be read: {error_summary(error)}") from error
        found = f"virtual tokens ({settings.peft_type.value})" if settings.is_prompt_learning else None
    if found:
        raise EngineError(
            f"{folder} holds {found}, not a change of weights, and vLLM runs weights only: set model.backend to engine,"
            " or choose another checkpoint, such as lora"
        )


@contextmanager
def _merged(model_folder: Path, checkpoint_folder: Path | None, dtype: str) -> Iterator[Path]:
    """Yield a folder with the weights that `LocalModel` runs for a checkpoint; vLLM needs it only to start."""
    if checkpoint_folder is None or checkpoint_kind(checkpoint_folder) == "base":
        yield model_folder
        return
    import torch

    tuned = apply_checkpoint(load_base(model_folder, getattr(torch, dtype))[0], checkpoint_folder)
    with TemporaryDirectory(prefix="whether-merged-") as folder:
        tuned.model.save_pretrained(folder)
        del tuned
        yield Path(folder)
