"""A language model on this machine: generating and scoring with it."""

import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whether.config import ModelConfig
from whether.engine.constraints import Matcher, choice_matcher, grammar_tokenizer, schema_matcher
from whether.engine.generation import (
    BatchGenerator,
    DecodedText,
    inference_mode,
    shared_lengths,
    stop_finder,
)
from whether.engine.prefix_tree import PrefixTree, Tokens
from whether.engine.requests import ScoringRequest
from whether.engine.rows import FinishedRow, RowDecoder, StopCriteria
from whether.engine.scoring import score
from whether.engine.tree_check import supports_shared_prefix
from whether.errors import EngineError
from whether.model.info import context_window, cpu_count, eos_token_ids, prefix_token_id
from whether.model.loading import (
    AppliedCheckpoint,
    apply_checkpoint,
    gc_disabled,
    load_base,
    select_device,
    share_weights,
)
from whether.model.memory import default_budget, limits
from whether.model.precision import precision_of
from whether.model.tokens import encode, encode_answer, encode_text
from whether.records import (
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
    import torch

    from whether.engine.caches import KeptPrefix
    from whether.model.packed_layers import Packs

logger = logging.getLogger(__name__)


class LocalModel:
    """A causal language model of transformers that answers many requests at once.

    Requests are token ids; results come in the order of the requests. Prefixes that requests of one call share are
    computed once. The same call gives the same result each time; in another call, with other requests, a
    request's numbers are equal up to rounding (about 1e-5 of a log-likelihood in float32).
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        memory: int | None = None,
        *,
        tuned: AppliedCheckpoint | None = None,
        uses_tree: bool | None = None,
    ):
        """Wrap a loaded model and its tokenizer, and choose how requests go through it.

        `memory` is what keys, values and activations may take, in bytes; None: half of what is free, at most 4 GiB.
        `tuned` is what a checkpoint adds to the model's weights; None: nothing. `uses_tree` is what
        `supports_shared_prefix` said of the base model; None: the model is checked.
        """
        self.model = model
        self.tokenizer = tokenizer
        self.context_window = context_window(model)
        """Most tokens of a prompt and its answer together."""
        self.eos_token_ids = eos_token_ids(model.generation_config, tokenizer)
        """Tokens that end an answer."""
        self.prefix_token_id = prefix_token_id(tokenizer)
        """What begins a text that has no context."""
        self.limits = limits(model, memory or default_budget(model.device))
        """How much goes through the model at once; halved for as long as a call is out of memory."""
        self.uses_tree = supports_shared_prefix(model) if uses_tree is None else uses_tree
        """Whether shared prefixes are computed once; False for a model that the check found unfit for it."""
        self._memory = memory
        self._kept: KeptPrefix | None = None
        """What the next call may begin with; None: each call computes all of its tokens."""
        self._opening: Tokens = ()
        """Stands before every sequence: placeholders of virtual tokens."""
        self._classifier: Any = None
        """Answers in place of the model, with a label; None: answers are generated."""
        self._compiled: tuple[Decoding | None, Matcher | None] = (None, None)
        """The decoding of the last call, and its constraint at its beginning."""
        if tuned is not None:
            self._put(tuned)

    @classmethod
    @gc_disabled()
    def load(cls, model_folder: Path, checkpoint_folder: Path | None, config: ModelConfig) -> "LocalModel":
        """Load a model folder in safetensors form and put a checkpoint on it.

        `checkpoint_folder` holds checkpoint.json and what `put_checkpoint` reads; None is the base model. Nothing is
        read from the network. `auto` is this machine's device and its native precision. On a CPU this sets the number
        of threads of torch for the whole process. Raises EngineError naming a folder that cannot be loaded.
        """
        import torch

        torch.set_num_threads(config.threads or cpu_count())
        model, tokenizer = load_base(model_folder, getattr(torch, precision_of(config)))
        model = model.to(select_device(config.device))
        # Of the base: the check is of the architecture, and rounding moves the sure answers of a tuned model further.
        uses_tree = supports_shared_prefix(model)
        tuned = AppliedCheckpoint(model) if checkpoint_folder is None else apply_checkpoint(model, checkpoint_folder)
        return cls(_frozen(tuned), tokenizer, config.memory, tuned=tuned, uses_tree=uses_tree)

    def with_checkpoint(self, checkpoint_folder: Path) -> "LocalModel":
        """Return a second model: this one with a checkpoint's adapter. This one stays as it is, to the last bit.

        The two share all weights that the adapter does not touch; those that it does are there twice, until the
        second model is dropped. Both answer at full speed, in any order. Call it on a base model: adapters add up.
        Raises EngineError for a folder that cannot be loaded.
        """
        from whether.model.packed_layers import unpack_layers

        second = share_weights(self.model)
        packs = unpack_layers(second)
        tuned = apply_checkpoint(second, checkpoint_folder)
        return LocalModel(_frozen(tuned, packs), self.tokenizer, self._memory, tuned=tuned, uses_tree=self.uses_tree)

    @contextmanager
    def keeping_prefix(self) -> Iterator[None]:
        """Calls meanwhile begin with the tokens that they share with the call before, as requests to a server do.

        Their results are equal up to rounding. What a call computes then depends on the one before it: for requests
        that are sent one at a time, and nothing that has to be repeated to the last bit.
        """
        from whether.engine.caches import KeptPrefix

        self._kept = KeptPrefix()
        try:
            yield
        finally:
            self._kept = None

    @property
    def is_probe(self) -> bool:
        """Whether it answers with a label, and writes nothing."""
        return self._classifier is not None

    @property
    def device(self) -> "torch.device":
        """Where the model runs."""
        device: torch.device = self.model.device
        return device

    def generate(
        self, chats: Sequence[Sequence[Message]], decoding: Decoding, *, progress: str | None = None
    ) -> list[list[Generation]]:
        """Answer each chat, in the model's chat template, as `generate_tokens` does.

        A linear probe answers with a label: the likeliest one, or drawn by `decoding.sampling`; what else is asked for
        does not matter then.
        """
        prompts = [encode(self.tokenizer, chat) for chat in chats]
        if self._classifier is not None:
            return self._classify(prompts, decoding.sampling, progress)
        return self.generate_tokens(prompts, decoding, progress=progress)

    def generate_tokens(
        self, prompts: Sequence[Sequence[int]], decoding: Decoding, *, progress: str | None = None
    ) -> list[list[Generation]]:
        """Continue each prompt `decoding.sampling.samples` times until the model ends it, `stop` appears or it is full.

        Tokens have the probabilities that they have in transformers' `generate(do_sample=True)`, where a constraint is
        applied before temperature, top_k and top_p; greedy ones in float32 are those of `generate(do_sample=False)`. A
        prompt is computed once for all of its samples; greedy answers and those to repeated prompts are computed once.
        `progress` is the title of a progress bar on standard error.

        Raises EngineError for a prompt that is empty or does not leave room for the answer in the context window, and
        for a constraint that cannot be kept, where it is required; where it is not, a warning says why answers are
        written without.
        """
        length = decoding.max_new_tokens
        self._check_prompts(prompts, length)
        ending = StopCriteria(length, self.eos_token_ids, stop_finder(self.tokenizer, decoding.stop))
        writer = RowDecoder(ending, decoding.sampling, self._walk(decoding))

        def written(answer: FinishedRow) -> DecodedText:
            text = decoding.cut(self.tokenizer.decode(answer.row.tokens, skip_special_tokens=True))
            return DecodedText(list(answer.row.tokens), text, len(answer.row.tokens), answer.row.is_finished)

        answerer = BatchGenerator(self.model, self.limits, self.uses_tree, self._opening, self._kept)
        return answerer.answer(prompts, writer, written, progress)

    def _classify(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, progress: str | None
    ) -> list[list[Generation]]:
        """Answer each prompt with labels: each is one of the classifier's next "tokens"."""
        self._check_prompts(prompts, 1)
        writer = RowDecoder(StopCriteria(1, frozenset(), stop_finder(self.tokenizer, ())), sampling, None)
        labels = self._classifier.get_output_embeddings().labels

        def written(answer: FinishedRow) -> DecodedText:
            label = labels[answer.row.tokens[0]]
            return DecodedText(encode_text(self.tokenizer, label), label, 1, is_finished=True)

        answerer = BatchGenerator(self._classifier, self.limits, self.uses_tree, kept=self._kept)
        return answerer.answer(prompts, writer, written, progress)

    def loglikelihoods(self, requests: Sequence[ScoringRequest]) -> list[ContinuationScore]:
        """Return how likely each request's continuation is after its context.

        An empty context stands for the token that begins a text (bos, or eos where there is none). Raises EngineError
        for a request that is longer than the context window (the last token is not counted: nothing follows it).
        """
        filled = [ScoringRequest(tuple(context) or (self.prefix_token_id,), tuple(rest)) for context, rest in requests]
        for index, (context, continuation) in enumerate(filled):
            length = len(context) + max(0, len(continuation) - 1)
            if length > self.context_window:
                raise EngineError(
                    f"request {index} has {len(context)} + {len(continuation)} tokens, and the model's context window"
                    f" is {self.context_window}: shorten its context"
                )
        whole = [ScoringRequest((*self._opening, *context), continuation) for context, continuation in filled]
        with inference_mode():
            return score(self.model, whole, self.limits, tree=self.uses_tree, kept=self._kept)

    def score_labels(self, chats: Sequence[Sequence[Message]], answers: Sequence[str]) -> list[LabelScores]:
        """Return for each chat how likely each of the answers is, the turn's end included (`LabelScorer`).

        A linear probe knows its labels and no other answers: EngineError for those.
        """
        start = time.perf_counter()
        contexts = [tuple(encode(self.tokenizer, chat)) for chat in chats]
        if self._classifier is None:
            endings = [tuple(encode_answer(self.tokenizer, answer)) for answer in answers]
            scores = self.loglikelihoods(
                [ScoringRequest(context, ending) for context in contexts for ending in endings]
            )
        else:
            requests = [ScoringRequest(context, (self._label(answer),)) for context in contexts for answer in answers]
            with inference_mode():
                scores = score(self._classifier, requests, self.limits, tree=self.uses_tree, kept=self._kept)
        seconds = (time.perf_counter() - start) / max(1, len(chats))
        tree = PrefixTree(contexts)
        shared = shared_lengths(tree) if self.uses_tree else [0] * len(tree.sequences)
        cached = dict(zip(tree.sequences, shared, strict=True))
        asked = Counter(contexts)
        width = len(answers)
        return [
            LabelScores(
                scores[index * width : (index + 1) * width],
                len(context),
                len(context) if asked[context] > 1 else min(len(context), cached[context]),
                seconds,
            )
            for index, context in enumerate(contexts)
        ]

    def rolling_loglikelihoods(
        self, texts: Sequence[Sequence[int]], max_length: int | None = None
    ) -> list[ContinuationScore]:
        """Return how likely each long text is, as lm-eval's `loglikelihood_rolling` does.

        A text is cut into windows of `max_length` tokens (default: the context window); each token is scored once,
        after what comes before it in its window. The first follows the token that begins a text. Windows of all
        texts are scored in one call.
        """
        from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

        length = max_length or self.context_window
        requests, ends = [], [0]
        for text in texts:
            for window in get_rolling_token_windows(list(text), self.prefix_token_id, length, context_len=1):
                context, rest = make_disjoint_window(window)
                requests.append(ScoringRequest(tuple(context), tuple(rest)))
            ends.append(len(requests))
        scores = self.loglikelihoods(requests)
        return [_sum(scores[start:end]) for start, end in pairwise(ends)]

    def _label(self, answer: str) -> int:
        """Return the number of a label among the classifier's."""
        labels: list[str] = self._classifier.get_output_embeddings().labels
        if answer not in labels:
            raise EngineError(f"the checkpoint is a linear probe with the labels {', '.join(labels)}, not {answer!r}")
        return labels.index(answer)

    def _put(self, tuned: AppliedCheckpoint) -> None:
        """Put virtual tokens before what the model reads, and a classifier in place of what it writes."""
        if tuned.virtual_tokens is not None:
            from whether.model.virtual_tokens import PLACEHOLDER, prepend_keys_values

            prepend_keys_values(self.model, tuned.virtual_tokens)
            self._opening = (PLACEHOLDER,) * tuned.virtual_tokens[0][0].shape[-2]
            self.context_window -= len(self._opening)
        if tuned.classifier is not None:
            self._classifier = tuned.classifier
            self._classifier.set_attn_implementation(self.model.config._attn_implementation)

    def _walk(self, decoding: Decoding) -> Matcher | None:
        """Return a walk at its beginning through what an answer may be; None: anything.

        The last one is kept compiled, since requests that are sent alone share theirs.
        """
        if self._compiled[0] != decoding:
            self._compiled = (decoding, self._compile(decoding))
        walk = self._compiled[1]
        return None if walk is None else walk.copy()

    def _compile(self, decoding: Decoding) -> Matcher | None:
        if decoding.constraint is None:
            return None
        try:
            return self._matcher(decoding.constraint, decoding.max_new_tokens)
        except EngineError as error:
            if decoding.constraint_required:
                raise
            logger.warning("answers are not constrained: %s", error)
            return None

    def _matcher(self, constraint: Choice | JsonSchema, max_new_tokens: int) -> Matcher:
        if not self.eos_token_ids:
            raise EngineError("a constrained answer needs a token that ends it, and the model's tokenizer has none")
        if isinstance(constraint, Choice):
            return choice_matcher(constraint, self.tokenizer, self.eos_token_ids, max_new_tokens)
        return schema_matcher(constraint.schema, self._grammar_tokenizer)

    @cached_property
    def _grammar_tokenizer(self) -> Any:
        return grammar_tokenizer(self.tokenizer, self.eos_token_ids)

    def _check_prompts(self, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> None:
        for index, prompt in enumerate(prompts):
            if not prompt:
                raise EngineError(f"prompt {index} is empty: a model needs at least one token to continue from")
            if len(prompt) > self.context_window - max_new_tokens:
                raise EngineError(
                    f"prompt {index} has {len(prompt)} tokens, and with {max_new_tokens} new ones it does not fit into"
                    f" the model's context window of {self.context_window}: use fewer or shorter examples"
                )


def _frozen(tuned: AppliedCheckpoint, packs: "Packs | None" = None) -> Any:
    """Return a loaded model, no longer trained, its weights laid out for the processor; so is its classifier."""
    from whether.model.packed_layers import Packs, pack_layers

    packs = packs or Packs()

    for model in (tuned.model, tuned.classifier):
        if model is not None:
            model.eval().requires_grad_(False)
    # The classifier first: its weights are the model's, whose plain ones have to be there to be recognised.
    for model in (tuned.classifier, tuned.model):
        if model is not None:
            pack_layers(model, packs)
    return tuned.model


def _sum(scores: Sequence[ContinuationScore]) -> ContinuationScore:
    """Return the score of a text whose parts have these."""
    total = sum(part.log_likelihood for part in scores)
    return ContinuationScore(total, all(part.is_greedy for part in scores), sum(part.tokens for part in scores))
