"""A bundle answers: rows of a retraining run, the recent window, or a user's own file."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from whether.baseline.baseline import answer_rows, make_model
from whether.baseline.data import Baseline
from whether.bundle.asking import ask
from whether.bundle.bundle import Bundle
from whether.chat.messages import render_input
from whether.compare.cost import usd_for_seconds
from whether.compare.provenance import model_hash
from whether.config import PricingConfig, ServedConfig
from whether.errors import EngineError
from whether.generate.load import connect, load_checkpoint
from whether.outputs.decoding import ParsedOutput, greedy, parse_generations
from whether.prompt.build import build_prompt, contains_answer
from whether.records import BaselineRow, Example, Generation, Prediction, Split, Task
from whether.score.score import prediction


class BundlePredictor:
    """A bundle on its base model."""

    def __init__(self, bundle: Bundle, model_folder: Path, *, keep: bool = True):
        """Load the model, or connect to a served one.

        With `keep` a served model's answers are kept and count towards its limit, as in the pipeline; without it each
        request is sent. Raises EngineError where the base is not the one that the bundle was made with.
        """
        self._baseline = load_baseline(bundle)
        needs_base = not bundle.served and self._baseline is None
        found = model_hash(model_folder) if needs_base else bundle.record.model_hash
        if found != bundle.record.model_hash:
            raise EngineError(
                f"the bundle {bundle.record.id} ({bundle.record.arm}) was made on {bundle.record.model} with the hash"
                f" {bundle.record.model_hash[:12]}, and {model_folder} has {found[:12]}: restore that base"
                " (`dvc repro model` with the settings used then), or promote an arm on this one"
            )
        self._task, record = bundle.task, bundle.record
        self._name = record.arm
        self._strategy, self._decoding = build_prompt(
            record.prompt_name, bundle.prompt, bundle.task, bundle.pool, record.seed
        )
        self._served = bundle.served
        if self._baseline is not None:
            return
        self._opened = (
            connect(bundle.served)
            if bundle.served and not keep
            else load_checkpoint(record.checkpoint, model_folder, bundle.checkpoint_folder, bundle.model, bundle.served)
        )
        if self._opened.is_classifier:
            self._decoding = greedy(bundle.task, record.seed)

    @property
    def task(self) -> Task:
        """What the bundle answers."""
        return self._task

    def answer(self, examples: Sequence[Example], split: Split = "recent", progress: bool = True) -> list[Prediction]:
        """Return an answer to each example. One that the model cannot answer, such as one whose prompt does not fit its
        context, has the reason in `error` and counts as wrong."""
        if self._baseline is not None:
            return self._answer_without_model(self._baseline, examples, split)
        chats = {example.id: self._strategy(example) for example in examples}
        long = {key: self._opened.too_long(chat, self._decoding.max_new_tokens) for key, chat in chats.items()}
        short = [example for example in examples if long[example.id] is None]
        replies = ask(
            self._opened.model, self._task, lambda example: chats.get(example.id) or self._strategy(example),
            self._decoding, short, progress=self._name if progress else None,
        )  # fmt: skip
        found = {}
        for example, reply in zip(short, replies, strict=True):
            retrieved = contains_answer(self._strategy, example)
            prompt = self._opened.show(chats[example.id])
            found[example.id] = prediction(self._task, split, example, prompt, reply, retrieved=retrieved)
        for example in examples:
            reason = long[example.id]
            if reason is not None:
                reply = ParsedOutput(Generation.failed(reason), None)
                found[example.id] = prediction(self._task, split, example, "", reply, retrieved=None)
        return [found[example.id] for example in examples]

    def _answer_without_model(self, baseline: Baseline, examples: Sequence[Example], split: Split) -> list[Prediction]:
        """Return a baseline's answers."""
        rows = [BaselineRow(one.id, render_input(self._task, one), one.target) for one in examples]
        reading = greedy(self._task, 0)
        parsed = parse_generations(self._task, reading, answer_rows(baseline, rows)) if rows else []
        return [
            prediction(self._task, split, example, one.prompt, reply, retrieved=None)
            for example, (one, reply) in zip(examples, parsed, strict=True)
        ]

    def measure(self, examples: Sequence[Example], requests: int, pricing: PricingConfig) -> dict[str, float]:
        """Return latency_p95 of requests sent one at a time, usd_per_1k of a batch, and peak_memory.

        A served model is asked again, whatever is kept; it has no peak_memory here.
        """
        from whether.model.memory import peak_memory

        if self._served:
            return self._measure_served(examples, requests, self._served)
        chosen = [examples[index % len(examples)] for index in range(requests + 2)]
        seconds = []
        for number, example in enumerate(chosen):
            start = time.perf_counter()
            self.answer([example], progress=False)
            if number >= 2:  # the first two warm up
                seconds.append(time.perf_counter() - start)
        start = time.perf_counter()
        self.answer(list({example.id: example for example in chosen}.values()), progress=False)
        batch = (time.perf_counter() - start) / len({example.id for example in chosen})
        return {
            "latency_p95": float(np.percentile(seconds, 95)),
            "usd_per_1k": 1000 * usd_for_seconds(batch, pricing),
            "peak_memory": float(peak_memory()),
        }

    def _measure_served(self, examples: Sequence[Example], requests: int, served: ServedConfig) -> dict[str, float]:
        chosen = list({example.id: example for example in examples}.values())[:requests]
        replies = ask(connect(served).model, self._task, self._strategy, self._decoding, chosen)
        replies = [reply for reply in replies if not reply.generation.error]
        if not replies:
            return {}
        found = {"latency_p95": float(np.percentile([reply.generation.seconds for reply in replies], 95))}
        counts = [
            (one.input_tokens, one.output_tokens, one.cached_tokens or 0)
            for one in (reply.generation for reply in replies)
        ]
        if served.price and all(read is not None and written is not None for read, written, _ in counts):
            usd = [served.price.usd(read or 0, written or 0, cached) for read, written, cached in counts]
            found["usd_per_1k"] = 1000 * float(np.mean(usd))
        return found


def load_baseline(bundle: Bundle) -> Baseline | None:
    """Return the small model that a bundle answers with; None where a language model does."""
    if bundle.record.baseline is None:
        return None
    model = make_model(bundle.record.baseline, f"bundle {bundle.record.id}: baseline")
    model.load(bundle.checkpoint_folder)
    return model
