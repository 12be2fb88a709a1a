"""A stronger model rewrites the best prompt's instruction, from what went wrong with it.

GEPA (Agrawal et al. 2025, https://arxiv.org/abs/2507.19457): a served model reads an instruction, some training
examples, what the checkpoint answered and what is right, and writes another instruction; what does better on those
examples is tried on all of dev. The search itself is the library's (`gepa`). It keeps no state of its own here: answers
of both models are kept, and the same seed asks the same, so a search that was killed goes through what is there.
"""

import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any, NamedTuple

from whether.chat.messages import render_input, user_message
from whether.config import ReflectConfig
from whether.errors import ConfigError, EngineError, MissingPackageError, WhetherError
from whether.optimise.candidates import PromptCandidate
from whether.optimise.evaluator import Evaluator
from whether.prompt.build import build_prompt
from whether.records import Decoding, Example, Message, Sampling, Task
from whether.served.budget import BudgetedModel, BudgetExceededError, CountTokens

logger = logging.getLogger(__name__)

_TEXT = "instruction"
"""The one text of a candidate that gepa changes."""


class Rewritten(NamedTuple):
    """What came of it."""

    candidates: list[PromptCandidate]
    """Prompts that did better on some examples, and so answered all of dev."""
    usd: float
    """What the reflector's answers cost, those that were there before included."""


def check_reflector(config: ReflectConfig | None) -> None:
    """Raise ConfigError for what can be known to be missing before anything is asked."""
    if config is None:
        return
    if find_spec("gepa") is None:
        raise MissingPackageError("gepa", "gepa", "rewriting by optimise.reflect")
    if config.reflector.price is None:
        raise ConfigError(
            "optimise.reflect.reflector needs its price, so that max_cost holds; a model that costs nothing has prices"
            " of 0 (docs/served.md)"
        )


def rewrite(
    best: PromptCandidate,
    config: ReflectConfig,
    judge: Evaluator,
    task: Task,
    *,
    pool: Sequence[Example],
    dev: Sequence[Example],
    seed: int,
    count: CountTokens,
    until: float | None = None,
) -> Rewritten:
    """Return rewritings of a candidate's instruction.

    Mistakes are read off the pool, quality is measured on dev. `until` is a time of the monotonic clock after which no
    more is asked. Raises EngineError for a reflector that does not answer; where its next answer could cost more than
    `max_cost`, what there is by then is returned.
    """
    from gepa.api import optimize

    # 1. The search by gepa, which ends by itself, by time, or when the next answer could cost too much.
    reflector = _Reflector(config, seed, count)
    adapter = _Adapter(best, judge, task, pool, seed)
    program: Any = adapter
    result: Any = optimize(
        {_TEXT: adapter.written},
        trainset=adapter.unseen,
        valset=list(dev),
        adapter=program,
        reflection_lm=reflector,
        reflection_minibatch_size=min(config.minibatch, len(adapter.unseen)),
        stop_callbacks=[lambda _: reflector.ended or (until is not None and time.monotonic() > until)],
        max_metric_calls=config.evaluations,
        logger=_Log(),
        seed=seed,
    )
    # 2. The texts that gepa measured on all of dev. The first is the one to be rewritten.
    if reflector.failure:
        raise reflector.failure
    texts = [candidate[_TEXT] for candidate in result.candidates[1:]]
    logger.info("%d rewritings of %s came to all of dev", len(texts), best.name)
    labels = None if best.prompt.labels_needed is None else best.prompt.labels_needed + len(adapter.read)
    written = [adapter.candidate(text, number) for number, text in enumerate(texts, 1)]
    return Rewritten([replace(one, prompt=replace(one.prompt, labels_needed=labels)) for one in written], reflector.usd)


class _Reflector:
    """The served model as gepa calls it: text in, text out."""

    def __init__(self, config: ReflectConfig, seed: int, count: CountTokens):
        self._config, self._sampling = config, Sampling(temperature=1.0, seed=seed)
        self._model = BudgetedModel(
            config.reflector, "the reflector", count, setting="optimise.reflect.reflector.max_cost"
        )
        self.usd = 0.0
        self.ended = False
        """Whether no more can be asked."""
        self.failure: WhetherError | None = None
        """Why, unless the limit was reached; gepa continues after errors, which would be the same again."""

    def __call__(self, prompt: "str | list[dict[str, Any]]") -> str:
        """Return the answer to a prompt."""
        assert isinstance(prompt, str), "lists of messages are for images"
        try:
            [[reply]] = self._model.generate(
                [[Message("user", prompt)]], Decoding(self._config.max_new_tokens, sampling=self._sampling)
            )
            if reply.error:
                raise EngineError(f"the reflector did not answer: {reply.error}")
        except BudgetExceededError as error:
            logger.warning("rewriting ends here: %s", error)
            self.ended = True
            raise
        except WhetherError as error:
            self.ended, self.failure = True, error
            raise
        price = self._config.reflector.price
        if price:
            self.usd += price.usd(reply.input_tokens or 0, reply.output_tokens or 0, reply.cached_tokens or 0)
        return reply.text


class _Adapter:
    """What gepa asks of the program whose text it changes (`gepa.core.adapter.GEPAAdapter`)."""

    propose_new_texts = None
    """gepa's own way of asking for a new text is used."""

    def __init__(self, best: PromptCandidate, judge: Evaluator, task: Task, pool: Sequence[Example], seed: int):
        self._best, self._judge, self._task = best, judge, task
        strategy, _ = build_prompt("optimised", best.prompt, task, pool, seed)
        system, *turns = strategy(pool[0])
        self.written = system.content
        """The best candidate's instruction, as the model reads it."""
        shown = {turn.content for turn in turns[:-1]}
        self.unseen = [example for example in pool if user_message(task, example).content not in shown]
        """Examples that are not among the demonstrations: of those the model has read the answers."""
        self.read = set[str]()
        """Ids of those of them that the reflector has read."""

    def candidate(self, text: str, number: int) -> PromptCandidate:
        """Return the best candidate with another instruction."""
        strategy = self._best.prompt.strategy | {"instruction": literal(text)}
        name = self._best.name if text == self.written else f"{self._best.name}, rewritten {number}"
        return PromptCandidate(name, replace(self._best.prompt, strategy=strategy))

    def evaluate(self, batch: list[Example], candidate: dict[str, str], capture_traces: bool = False) -> Any:
        """Return how a text does on examples."""
        from gepa.core.adapter import EvaluationBatch

        text = candidate[_TEXT]
        asked = self._best if text == self.written else self.candidate(text, 0)
        scored = self._judge.scores(asked, batch)
        outputs = [row.output for row in scored]
        traces = list(zip(batch, scored, strict=True)) if capture_traces else None
        return EvaluationBatch(outputs=outputs, scores=[row.score for row in scored], trajectories=traces)

    def make_reflective_dataset(
        self,
        candidate: dict[str, str],  # noqa: ARG002 - gepa calls it so
        eval_batch: Any,
        components_to_update: list[str],
    ) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """Return what the reflector reads of each example."""
        self.read |= {example.id for example, _ in eval_batch.trajectories}
        records = [
            {
                "Inputs": render_input(self._task, example),
                "Generated Outputs": row.output,
                "Feedback": "This is right." if row.score == 1 else f"This is wrong. Right would be: {example.target}",
            }
            for example, row in eval_batch.trajectories
        ]
        return dict.fromkeys(components_to_update, records)


class _Log:
    """gepa's log, in ours."""

    def log(self, message: str) -> None:
        """Keep a line for those who debug."""
        logger.debug("%s", message)


def literal(text: str) -> str:
    """Return a template that renders to a text, whatever braces a model wrote into it."""
    return re.sub(r"\{(?=[{%#])", "{{ '{' }}", text)
