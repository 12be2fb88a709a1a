"""How candidates do on examples."""

import logging
import time
from collections.abc import Iterator, Sequence

from whether.bundle.asking import ask
from whether.engine.local import LocalModel
from whether.model.tokens import encode
from whether.optimise.candidates import PromptCandidate
from whether.optimise.journal import ScoredExample, ScoreJournal
from whether.outputs.kinds import output_of
from whether.outputs.output import score_answer
from whether.prompt.build import build_prompt
from whether.records import Example, Task, sha256_json

logger = logging.getLogger(__name__)


class Evaluator:
    """Asks a model, and remembers."""

    def __init__(self, model: LocalModel, task: Task, pool: Sequence[Example], seed: int, journal: ScoreJournal):
        self._model, self._task, self._pool, self._seed, self._journal = model, task, pool, seed, journal

    def scores(self, candidate: PromptCandidate, examples: Sequence[Example]) -> list[ScoredExample]:
        """Return how a candidate does on examples; only what is not known is asked, in one call."""
        key = sha256_json([candidate.prompt.strategy, candidate.prompt.decoding])
        known = self._journal.known(key)
        lacking = [example for example in examples if example.id not in known]
        if lacking:
            start = time.perf_counter()
            found = list(self._ask(candidate, lacking))
            self._journal.add(key, time.perf_counter() - start, found)
        return [self._journal.known(key)[example.id] for example in examples]

    def _ask(self, candidate: PromptCandidate, examples: Sequence[Example]) -> Iterator[ScoredExample]:
        name = candidate.name if candidate.by_hand else "optimised"
        strategy, decoding = build_prompt(name, candidate.prompt, self._task, self._pool, self._seed)
        longest = max(len(encode(self._model.tokenizer, strategy(example))) for example in examples)
        if longest + decoding.max_new_tokens > self._model.context_window:
            logger.info("%s: %d tokens do not fit the model's context, it counts as wrong", candidate.name, longest)
            yield from (ScoredExample(example.id, 0.0, longest) for example in examples)
            return
        replies = ask(self._model, self._task, strategy, decoding, examples)
        for example, reply in zip(examples, replies, strict=True):
            counts = (reply.generation.input_tokens, reply.generation.output_tokens)
            tokens = None if None in counts else sum(count for count in counts if count is not None)
            yield ScoredExample(
                example.id,
                score_answer(output_of(self._task), reply.answer, example.target),
                tokens,
                reply.generation.text,
            )
