"""A model in vLLM, for machines with a GPU: the optional extra `vllm`.

vLLM batches requests by itself and keeps the keys and values of prompts in a cache that later requests share; here that
cache is always on. It runs in processes of its own, which end with the object that started them.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from whether.config import ModelConfig
from whether.engine.requests import ScoringRequest
from whether.errors import EngineError, MissingPackageError
from whether.model.loading import apply_checkpoint, checkpoint_kind, error_summary, load_base, load_tokenizer
from whether.model.tokens import encode
from whether.records import (
    GREEDY,
    Choice,
    ContinuationScore,
    Decoding,
    Generation,
    JsonSchema,
    Message,
    Sampling,
)

if TYPE_CHECKING:
    from vllm import LLM, CompletionOutput, RequestOutput, SamplingParams


class VLLMModel:
    """A causal language model in vLLM; a `ChatModel` that can score too.

    In float32 greedy answers and log-likelihoods are those of `LocalModel` up to rounding, which may tip a near tie.
    """

    def __init__(self, engine: "LLM", tokenizer: Any):
        """Wrap a running engine and its model's tokenizer."""
        self.engine = engine
        self.tokenizer = tokenizer
        self.context_window = int(engine.model_config.max_model_len)
        """Most tokens of a prompt and its answer together."""
        self.eos_token_ids = _eos_token_ids(engine.model_config.try_get_generation_config(), tokenizer)
        """Tokens that end an answer."""

    @classmethod
    def load(
        cls,
        model_folder: Path,
        checkpoint_folder: Path | None,
        config: ModelConfig,
        *,
        context_window: int | None = None,
        cache_bytes: int | None = None,
    ) -> "VLLMModel":
        """Start vLLM with a model folder and a checkpoint's adapter, which is merged into a temporary copy first.

        (vLLM's own adapters are LoRA only, and vLLM 0.32 stops when it scores a prompt with one on a CPU.)
        `context_window` limits tokens of prompt and answer (default: the model's own); `cache_bytes` is the room for
        keys and values (default: what vLLM finds free). Which device is used is settled by the build of vLLM that is
        installed. Raises MissingPackageError without vLLM, and EngineError for what it refuses.
        """
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        try:
            from vllm import LLM
            from vllm.platforms import current_platform
        except ModuleNotFoundError as error:
            if error.name != "vllm":
                raise
            raise MissingPackageError("vllm", "vllm", "VLLMModel") from None
        if config.device not in ("auto", current_platform.device_type):
            raise EngineError(
                f"model.device is {config.device}, and the installed vLLM runs on {current_platform.device_type}:"
                " set model.device to auto"
            )
        tokenizer = load_tokenizer(model_folder)
        with _merged(model_folder, checkpoint_folder, config.dtype) as folder:
            try:
                engine = LLM(
                    str(folder),
                    tokenizer=str(model_folder),
                    dtype=config.dtype,
                    max_model_len=context_window,
                    kv_cache_memory_bytes=cache_bytes,
                    enable_prefix_caching=True,
                )
            except Exception as error:
                raise EngineError(f"vLLM cannot load {folder}: {error_summary(error)}") from error
            return cls(engine, tokenizer)

    def generate(
        self, chats: Sequence[Sequence[Message]], decoding: Decoding, *, progress: str | None = None
    ) -> list[list[Generation]]:
        """Return `decoding.sampling.samples` answers to each chat, in the order of the chats.

        `cached_tokens` are those that vLLM found in its cache, in whole blocks, whichever call put them there. Raises
        EngineError for a chat that does not leave room for the answer, and for a constraint that vLLM refuses.
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
        outputs = self._run(prompts, [_seeded(settings, prompt) for prompt in prompts], progress)
        each = (time.perf_counter() - start) / max(1, len(chats) * sampling.samples)
        # vLLM writes a greedy answer only once: its samples are all the same.
        repeats = 1 if sampling.temperature else sampling.samples
        return [
            [self._generation(output, part, decoding, each) for part in output.outputs] * repeats for output in outputs
        ]

    def loglikelihoods(self, requests: Sequence[ScoringRequest]) -> list[ContinuationScore]:
        """Return how likely each request's continuation is after its context.

        Every request is computed whole: vLLM reads no cached prefix where it returns the probabilities of a prompt.
        An empty context stands for the token that begins a text (bos, or eos where there is none). Raises EngineError
        for a request that is longer than the context window less the one token that vLLM always adds.
        """
        begin = self.tokenizer.bos_token_id
        first = self.tokenizer.eos_token_id if begin is None else begin
        filled = [ScoringRequest(tuple(context) or (first,), tuple(rest)) for context, rest in requests]
        for index, (context, rest) in enumerate(filled):
            if len(context) + len(rest) >= self.context_window:
                raise EngineError(
                    f"request {index} has {len(context)} + {len(rest)} tokens, and vLLM scores less than its context"
                    f" window of {self.context_window}: shorten its context"
                )
        asked = [request for request in filled if request.continuation]
        settings = _sampling_params(GREEDY, None, max_tokens=1, prompt_logprobs=0, detokenize=False)
        outputs = iter(self._run([[*context, *rest] for context, rest in asked], settings, None))
        return [
            _score(request, next(outputs)) if request.continuation else ContinuationScore(0.0, True, 0)
            for request in filled
        ]

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
            outputs = self.engine.generate(inputs, settings, use_tqdm=progress is not None)
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


def _score(request: ScoringRequest, output: "RequestOutput") -> ContinuationScore:
    """Add up what vLLM says of the prompt's last tokens: {token id: its log-probability and rank} at each place."""
    places = output.prompt_logprobs[len(request.context) :]
    found = [place[token] for place, token in zip(places, request.continuation, strict=True)]
    total = sum(token.logprob for token in found)
    return ContinuationScore(total, all(token.rank == 1 for token in found), len(found))


@contextmanager
def _merged(model_folder: Path, checkpoint_folder: Path | None, dtype: str) -> Iterator[Path]:
    """Yield a folder with the weights that `LocalModel` runs for a checkpoint; vLLM needs it only to start."""
    if checkpoint_folder is None or checkpoint_kind(checkpoint_folder) == "base":
        yield model_folder
        return
    import torch

    tuned = apply_checkpoint(load_base(model_folder, getattr(torch, dtype))[0], checkpoint_folder)
    if tuned.virtual_tokens is not None or tuned.classifier is not None:
        raise EngineError(
            f"{checkpoint_folder} is not a change of weights (it is virtual tokens or a linear probe), and vLLM runs"
            " weights only: run it with LocalModel, or tune with another, such as lora"
        )
    with TemporaryDirectory(prefix="whether-merged-") as folder:
        tuned.model.save_pretrained(folder)
        del tuned
        yield Path(folder)


def _eos_token_ids(generation_config: dict[str, Any], tokenizer: Any) -> frozenset[int]:
    """Return what ends an answer by the model's generation config or its tokenizer."""
    configured = generation_config.get("eos_token_id")
    ids = configured if isinstance(configured, list) else [configured]
    return frozenset(token for token in [*ids, tokenizer.eos_token_id] if token is not None)
