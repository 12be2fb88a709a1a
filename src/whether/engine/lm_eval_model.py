"""Our engine as a model of lm-eval, with the results of its `hf` backend for the same model."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import handle_stop_sequences, has_bos_prefix, normalize_gen_kwargs

from whether.engine.requests import Request
from whether.errors import EngineError

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

    from whether.engine.local import LocalModel

logger = logging.getLogger(__name__)

Encoded = tuple[tuple[str, str], list[int], list[int]]
"""(context, continuation) as text, and the token ids of each."""
_WITHOUT_EFFECT = {"temperature", "top_p", "top_k", "min_p"}
"""Settings that matter only when sampling; `hf` ignores them in greedy decoding too."""


class EngineLM(TemplateLM):  # type: ignore[misc]
    """A `LocalModel` that lm-eval can evaluate: pass an instance as `model` to `lm_eval.simple_evaluate`.

    Special tokens, the split of context and continuation and truncation follow lm-eval's `HFLM` with its defaults.
    """

    backend = "causal"
    max_gen_toks = 256
    """New tokens where a task does not say how many: lm-eval's default."""

    def __init__(self, local: "LocalModel"):
        super().__init__()
        self.local = local
        self.tokenizer = local.tokenizer
        self.max_length = local.context_window
        self._device = local.device

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """The token that stands before a text without context."""
        return self.local.prefix_token_id

    @property
    def tokenizer_name(self) -> str:
        """What lm-eval's request cache tells tokenizers apart by."""
        return str(self.tokenizer.name_or_path).replace("/", "__")

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Return token ids; special tokens are the tokenizer's choice, unless the text brings its first one along."""
        if add_special_tokens is None and has_bos_prefix(string, self.tokenizer.decode(self.prefix_token_id)):
            add_special_tokens = False
        options = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        return list(self.tokenizer.encode(string, **options))

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Return a chat as one string; without `add_generation_prompt` its last message is left open."""
        from jinja2 import TemplateError

        try:
            text = self.tokenizer.apply_chat_template(
                chat_history,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )
        except TemplateError as error:
            roles = [message["role"] for message in chat_history]
            raise EngineError(f"the model's chat template refuses messages of the roles {roles}: {error}") from None
        return str(text)

    def loglikelihood_rolling(self, requests: "list[Instance]", disable_tqdm: bool = False) -> list[float]:
        """Return the log-likelihood of each text."""
        del disable_tqdm  # lm-eval's own name for a parameter of every model; windows are quick to run
        results = []
        for request in requests:
            (text,) = request.args
            results.append(self.local.rolling_loglikelihood(self.tok_encode(text)).log_likelihood)
            self.cache_hook.add_partial("loglikelihood_rolling", (text,), results[-1])
        return results

    def generate_until(self, requests: "list[Instance]", disable_tqdm: bool = False) -> list[str]:
        """Return what the model writes greedily after each context, up to the first of the task's stop strings."""
        alike: dict[tuple[int, tuple[str, ...]], list[int]] = defaultdict(list)
        for index, request in enumerate(requests):
            alike[self._ending(request.args[1])].append(index)
        texts = [""] * len(requests)
        for (max_new_tokens, stop), indices in alike.items():
            prompts = [self._prompt(requests[index].args[0], max_new_tokens) for index in indices]
            title = None if disable_tqdm else "generate_until"
            answers = self.local.generate(prompts, max_new_tokens=max_new_tokens, stop=stop, progress=title)
            for index, answer in zip(indices, answers, strict=True):
                texts[index] = answer.text
                self.cache_hook.add_partial("generate_until", requests[index].args, answer.text)
        return texts

    def _loglikelihood_tokens(self, requests: Sequence[Encoded], **_options: Any) -> list[tuple[float, bool]]:
        scores = self.local.loglikelihoods([self._fit(context, rest) for _, context, rest in requests])
        results = [(result.log_likelihood, result.is_greedy) for result in scores]
        for (text, *_), result in zip(requests, results, strict=True):
            self.cache_hook.add_partial("loglikelihood", text, result)
        return results

    def _fit(self, context: list[int], continuation: list[int]) -> Request:
        """Drop the beginning of a context that is too long, as lm-eval does."""
        surplus = len(context) + len(continuation) - (self.max_length + 1)
        if surplus >= len(context):
            raise EngineError(
                f"a continuation of {len(continuation)} tokens leaves no room for its context in the model's context"
                f" window of {self.max_length}"
            )
        if surplus > 0:
            logger.warning("%d tokens of a context are cut off: it is longer than the context window", surplus)
        return Request(tuple(context[max(0, surplus) :]), tuple(continuation))

    def _prompt(self, context: str, max_new_tokens: int) -> list[int]:
        """Encode a prompt and drop its beginning if it leaves no room for the answer, as lm-eval does."""
        tokens = self.tok_encode(context)
        room = self.max_length - max_new_tokens
        if room < 1:
            raise EngineError(
                f"max_gen_toks is {max_new_tokens}, and the model's context window is only {self.max_length}"
            )
        if len(tokens) > room:
            logger.warning("%d tokens of a prompt are cut off: it leaves no room for the answer", len(tokens) - room)
        return tokens[-room:]

    def _ending(self, settings: dict[str, Any]) -> tuple[int, tuple[str, ...]]:
        """Return the number of new tokens and the stop strings that a task asks for."""
        options = dict(normalize_gen_kwargs(settings, self.max_gen_toks))
        stop = handle_stop_sequences(options.pop("until"), eos=self.tokenizer.decode(self.eot_token_id))
        max_new_tokens = int(options.pop("max_gen_toks"))
        if options.pop("do_sample"):
            raise EngineError(f"this engine decodes greedily, and the task asks for sampling: {settings}")
        if unknown := options.keys() - _WITHOUT_EFFECT:
            raise EngineError(f"this engine does not know the generation settings {sorted(unknown)} of the task")
        return max_new_tokens, tuple(string for string in stop if string)
