"""Our engine as a model of lm-eval, with the results of its `hf` backend for the same model.

Importing this module registers the name `whether`: `lm_eval.simple_evaluate(model="whether", model_args=...)`.
`whether lm-eval` is lm-eval's command line with it.
"""

import dataclasses
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import handle_stop_sequences, has_bos_prefix, normalize_gen_kwargs
from lm_eval.utils import simple_parse_args_string
from pydantic import ByteSize, Field, ValidationError
from pydantic.dataclasses import dataclass

from whether.config import ModelConfig, types
from whether.engine.prefix_tree import Tokens
from whether.engine.requests import ScoringRequest
from whether.errors import EngineError, near_matches
from whether.model.tokens import render
from whether.records import GREEDY, Decoding, Generation, Message, Sampling

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

    from whether.engine.local import LocalModel

logger = logging.getLogger(__name__)

Encoded = tuple[tuple[str, str], list[int], list[int]]
"""(context, continuation) as text, and the token ids of each."""
_ONLY_SAMPLING = {"min_p"}
"""Settings that we do not have and that matter only when sampling; `hf` ignores them in greedy decoding too."""


@dataclass(frozen=True, config=types.STRICT)
class ModelArguments:
    """What `--model_args` (and `--batch_size`, `--device`) of lm-eval can say. Names are those of its `hf` backend."""

    pretrained: str
    """Folder with config.json, safetensors weights and tokenizer; nothing is downloaded."""
    checkpoint: str | None = None
    """Folder of a tuned checkpoint (checkpoint.json and adapter/) whose adapter is merged; None: the base model."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    device: Literal["auto", "cpu", "cuda", "mps", "cuda:0"] = "auto"
    """`cuda:0` is what lm-eval says by default, and means `auto`, as it does for `hf`."""
    threads: types.Count | None = None
    """CPU threads; None: one for each core that the process may use."""
    memory: Annotated[ByteSize, Field(ge=2**20)] | None = None
    """What keys, values and activations may take, such as 3GiB; None: half of what is free, at most 4 GiB."""
    max_length: types.Count | None = None
    """Context window in tokens; None: the model's."""
    truncation: types.Truncation = "left"
    """What becomes of inputs that are longer than that; `left` is what `hf` does."""
    add_bos_token: bool | None = None
    """Whether texts begin with the bos token; None: as the tokenizer is set up."""
    batch_size: int | str | None = None
    """Without effect: batches are formed by tokens and by what requests share."""
    max_batch_size: int | None = None
    """Without effect, likewise."""

    @classmethod
    def check(cls, values: Mapping[str, Any]) -> "ModelArguments":
        """Return checked arguments. Raises EngineError that names the first bad one."""
        known = [each.name for each in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                raise EngineError(
                    f"model_args: the model 'whether' has no argument {name!r}{near_matches(name, known)}"
                )
        try:
            return cls(**values)
        except ValidationError as error:
            problem = error.errors()[0]
            name = str(problem["loc"][0])
            given = f", and is {values[name]!r}" if name in values else ""
            raise EngineError(f"model_args: {name}: {problem['msg']}{given}") from None


@register_model("whether")
class EngineLM(TemplateLM):  # type: ignore[misc]
    """A `LocalModel` that lm-eval can evaluate, by the name `whether` or as an instance.

    Special tokens, the split of context and continuation and truncation follow lm-eval's `HFLM` with its defaults.
    """

    backend = "causal"
    max_gen_toks = 256
    """New tokens where a task does not say how many: lm-eval's default."""

    def __init__(
        self,
        local: "LocalModel",
        *,
        truncation: types.Truncation = "left",
        max_length: int | None = None,
        add_bos_token: bool | None = None,
    ):
        """Wrap a loaded model; `ModelArguments` says what the settings mean."""
        super().__init__()
        if max_length is not None and max_length > local.context_window:
            raise EngineError(f"max_length is {max_length}, and the model's context window is {local.context_window}")
        self.local = local
        self.tokenizer = local.tokenizer
        self.max_length = max_length or local.context_window
        self.add_bos_token = add_bos_token
        self.truncation = Truncation(truncation, self.max_length)
        """How many requests and tokens were cut so far."""
        self._device = local.device
        self._prefix = self.tokenizer.decode(self.prefix_token_id)
        self._encoded: dict[str, list[int]] = {}

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional_config: dict[str, Any] | None = None) -> "EngineLM":
        """Load a model by arguments such as `pretrained=FOLDER,dtype=float32`."""
        return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: dict[str, Any], additional_config: dict[str, Any] | None = None
    ) -> "EngineLM":
        """Load a model by `ModelArguments`. Raises EngineError for a bad argument or folder."""
        from whether.engine.local import LocalModel

        further = {name: value for name, value in (additional_config or {}).items() if value is not None}
        given = ModelArguments.check(arg_dict | further)
        if given.batch_size not in (None, 1):
            logger.info("batch_size %s is without effect: the engine forms its own batches", given.batch_size)
        folder = Path(given.pretrained)
        config = ModelConfig(
            name=folder.name,
            source={"_target_": "whether.sources.models.folder", "path": str(folder)},
            licence="unknown",
            dtype=given.dtype,
            device="auto" if given.device == "cuda:0" else given.device,
            threads=given.threads,
            memory=given.memory,
        )
        local = LocalModel.load(folder, Path(given.checkpoint) if given.checkpoint else None, config)
        if given.add_bos_token is not None:
            local.tokenizer.add_bos_token = given.add_bos_token
        return cls(local, truncation=given.truncation, max_length=given.max_length, add_bos_token=given.add_bos_token)

    def get_model_info(self) -> dict[str, Any]:
        """Return what lm-eval writes into its results with the model's name and arguments."""
        return {
            "model_num_parameters": self.local.model.num_parameters(),
            "model_dtype": str(self.local.model.dtype),
            "shares_prefixes": self.local.uses_tree,
            "max_length": self.max_length,
            "truncation": self.truncation.policy,
            "truncated_requests": self.truncation.requests,
            "truncated_tokens": self.truncation.tokens,
        }

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """The token that begins a text without context."""
        return self.local.prefix_token_id

    @property
    def tokenizer_name(self) -> str:
        """What lm-eval's request cache distinguishes tokenizers by."""
        return str(self.tokenizer.name_or_path).replace("/", "__")

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Return token ids; special tokens are the tokenizer's choice, unless the text brings its first one along."""
        if add_special_tokens is None:
            if string in self._encoded:
                return [*self._encoded[string]]
            add_special_tokens = self._adds_special_tokens(string)
        options = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        return list(self.tokenizer.encode(string, **options))

    def _adds_special_tokens(self, string: str) -> bool | None:
        """Return whether a text gets special tokens; None: as the tokenizer is set up."""
        return False if has_bos_prefix(string, self._prefix) else self.add_bos_token

    def loglikelihood(self, requests: "list[Instance]", disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Return log-likelihood and greediness of each continuation; every different text is encoded once."""
        texts: dict[bool | None, set[str]] = defaultdict(set)
        for request in requests:
            context, continuation = request.args
            for text in (context.rstrip(), context + continuation):  # the pieces that lm-eval encodes
                texts[self._adds_special_tokens(text)].add(text)
        try:
            for choice, alike in texts.items():
                options = {} if choice is None else {"add_special_tokens": choice}
                together = sorted(alike)
                self._encoded |= zip(together, self.tokenizer(together, **options)["input_ids"], strict=True)
            return super().loglikelihood(requests, disable_tqdm)  # type: ignore[no-any-return]
        finally:
            self._encoded = {}

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Return a chat as one string; without `add_generation_prompt` its last message is left open."""
        messages = [Message(turn["role"], turn["content"]) for turn in chat_history]  # type: ignore[arg-type]
        return render(self.tokenizer, messages, continue_last=not add_generation_prompt)

    def loglikelihood_rolling(self, requests: "list[Instance]", disable_tqdm: bool = False) -> list[float]:
        """Return the log-likelihood of each text; the windows of all texts are scored together."""
        del disable_tqdm  # lm-eval's own name for a parameter of every model; scoring shows no bar
        texts = [self.tok_encode(request.args[0]) for request in requests]
        results = [score.log_likelihood for score in self.local.rolling_loglikelihoods(texts, self.max_length)]
        for request, result in zip(requests, results, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, result)
        return results

    def generate_until(self, requests: "list[Instance]", disable_tqdm: bool = False) -> list[str]:
        """Return what the model writes after each context, up to the first of the task's stop strings."""
        decodings = [self._decoding(request.args[1]) for request in requests]
        rooms = [self.max_length - decoding.max_new_tokens for decoding in decodings]
        prompts = self.truncation.fit(
            Input(self.tok_encode(request.args[0]), room) for request, room in zip(requests, rooms, strict=True)
        )
        alike: dict[Decoding, list[int]] = defaultdict(list)
        for index, decoding in enumerate(decodings):
            alike[decoding].append(index)
        texts = [""] * len(requests)
        for decoding, indices in alike.items():
            answers = self._write([tuple(prompts[index]) for index in indices], decoding, progress=not disable_tqdm)
            for index, answer in zip(indices, answers, strict=True):
                texts[index] = answer.text
                self.cache_hook.add_partial("generate_until", requests[index].args, answer.text)
        return texts

    def _write(self, prompts: list[Tokens], decoding: Decoding, *, progress: bool) -> list[Generation]:
        """Return one answer to each prompt; those to equal prompts (a task's `repeats`) are samples of their own."""
        asked = Counter(prompts)
        answers = self.local.generate_tokens(
            list(asked),
            replace(decoding, sampling=decoding.sampling._replace(samples=max(asked.values()))),
            progress="generate_until" if progress else None,
        )
        left = dict(zip(asked, map(iter, answers), strict=True))
        return [next(left[prompt]) for prompt in prompts]

    def _loglikelihood_tokens(self, requests: Sequence[Encoded], **_options: Any) -> list[tuple[float, bool]]:
        for index, (_, _, continuation) in enumerate(requests):
            if len(continuation) > self.max_length:
                raise EngineError(
                    f"request {index} has a continuation of {len(continuation)} tokens, which leaves no room for its"
                    f" context in the model's context window of {self.max_length}"
                )
        # The last token of a continuation is only predicted, so it takes no place in the window.
        contexts = self.truncation.fit(
            Input(context, self.max_length + 1 - len(continuation)) for _, context, continuation in requests
        )
        scores = self.local.loglikelihoods(
            [
                ScoringRequest(tuple(context), tuple(rest))
                for context, (*_, rest) in zip(contexts, requests, strict=True)
            ]
        )
        results = [(score.log_likelihood, score.is_greedy) for score in scores]
        for (text, *_), result in zip(requests, results, strict=True):
            self.cache_hook.add_partial("loglikelihood", text, result)
        return results

    def _decoding(self, settings: dict[str, Any]) -> Decoding:
        """Return what a task's generation settings ask for; a sampling setting that they do not name is off."""
        import torch

        options = dict(normalize_gen_kwargs(settings, self.max_gen_toks))
        stop = handle_stop_sequences(options.pop("until"), eos=self.tokenizer.decode(self.eot_token_id))
        max_new_tokens = int(options.pop("max_gen_toks"))
        if max_new_tokens >= self.max_length:
            raise EngineError(
                f"max_gen_toks is {max_new_tokens}, and the model's context window is only {self.max_length}"
            )
        is_sampled = options.pop("do_sample")
        sampling = Sampling(
            temperature=float(options.pop("temperature", 0.0)),
            top_k=int(options.pop("top_k", 0)),
            top_p=float(options.pop("top_p", 1.0)),
            # lm-eval's --seed sets torch's seed before it makes the model.
            seed=int(options.pop("seed", torch.initial_seed() % 2**63)),
        )
        unknown = options.keys() - (set() if is_sampled else _ONLY_SAMPLING)
        if unknown:
            raise EngineError(f"this engine does not know the generation settings {sorted(unknown)} of the task")
        if not is_sampled or not sampling.temperature:
            sampling = GREEDY
        return Decoding(max_new_tokens, [string for string in stop if string], sampling)


logger = logging.getLogger(__name__)


class Input(NamedTuple):
    """Tokens that stand before an answer or a continuation, and how many of them there is room for, at least 1."""

    tokens: list[int]
    room: int


class Truncation:
    """A policy, and how much it has cut so far."""

    def __init__(self, policy: types.Truncation, window: int):
        """Apply a policy to the inputs of a model with this context window."""
        self.policy = policy
        self.window = window
        self.requests = 0
        """Inputs that were cut, over all calls."""
        self.tokens = 0
        """Tokens that were cut off them."""

    def fit(self, inputs: Iterable[Input]) -> list[list[int]]:
        """Return as many of each input's last tokens as there is room for, and say once how much was cut.

        Raises EngineError under the policy `error` for the first input that is too long.
        """
        fitting, surpluses = [], []
        for index, (tokens, room) in enumerate(inputs):
            surplus = max(0, len(tokens) - room)
            if surplus and self.policy == "error":
                raise EngineError(
                    f"request {index} has {len(tokens)} tokens of context, and there is room for {room} in the model's"
                    f" context window of {self.window}: shorten it, or set truncation to left to drop its beginning"
                )
            surpluses += [surplus] if surplus else []
            fitting.append(tokens[surplus:])
        if surpluses:
            self.requests += len(surpluses)
            self.tokens += sum(surpluses)
            logger.warning(
                "%d of %d requests are longer than the context window of %d tokens: their beginnings are cut off,"
                " %d tokens in all",
                *(len(surpluses), len(fitting), self.window, sum(surpluses)),
            )
        return fitting
