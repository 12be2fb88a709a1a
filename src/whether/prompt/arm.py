"""An arm: one checkpoint with one prompt answers dev and test.

Writes into artifacts/prompt/<arm>/:

predictions.jsonl   a `whether.records.Prediction` a line, dev before test
metrics.json        {"dev": …, "test": …} with the metrics of `split_metrics`, then latency_p50, latency_p95, n_dev,
                    n_test, n_latency (timed requests) and peak_memory
prompt.txt          the first rendered prompt, to read
lm_eval/            the test split as a task for stock lm-eval (whether.prompt.lm_eval_export)
"""

import time
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whether.config import ModelConfig, PromptConfig, ServingConfig, build
from whether.engine.chat import encode, render
from whether.errors import DataError, EngineError
from whether.prompt.lm_eval_export import export
from whether.prompt.metrics import latency_metrics, split_metrics
from whether.prompt.parse import parser
from whether.prompt.strategies import Strategy
from whether.records import Example, Prediction, Split, Task, read_json, read_jsonl, write_json, write_jsonl, write_text

if TYPE_CHECKING:
    from whether.engine.local import LocalModel
    from whether.engine.requests import Generation

ANSWERED: tuple[Split, ...] = ("dev", "test")


def run_arm(
    checkpoint: str,
    prompt: PromptConfig,
    model: ModelConfig,
    serving: ServingConfig,
    seed: int,
    *,
    name: str,
    artifacts: Path,
    folder: Path,
) -> None:
    """Answer dev and test greedily in one batch, measure, and write the records named above into `folder`.

    `name` is the arm's, `<checkpoint>-<prompt>`. Raises ConfigError for a strategy that the training split is too small
    for and EngineError for a prompt that does not fit the model's context.
    """
    from whether.engine.local import LocalModel
    from whether.engine.memory import peak_memory

    prepared = artifacts / "prepare"
    task = read_json(prepared / "task.json", Task)
    pool = read_jsonl(prepared / "train.jsonl", Example)
    splits = {split: _read_split(prepared, split) for split in ANSWERED}
    strategy: Strategy = build(prompt.strategy, task, pool, seed, where=f"prompts of arm {name}: strategy")
    local = LocalModel.load(artifacts / "model", artifacts / "finetune" / checkpoint, model)

    def to_tokens(example: Example) -> list[int]:
        return _encode_checked(local, strategy, task, example, name)

    examples = [(split, example) for split in ANSWERED for example in splits[split]]
    requests = [to_tokens(example) for _, example in examples]
    answers = local.answer_prompts(requests, max_new_tokens=task.max_new_tokens, progress=name)
    parse = parser(task)
    predictions = [
        _prediction(split, example, render(local.tokenizer, strategy(example)), generation, parse)
        for (split, example), (generation,) in zip(examples, answers, strict=True)
    ]
    seconds = _seconds_alone(local, splits["dev"], to_tokens, serving, task.max_new_tokens)

    write_jsonl(folder / "predictions.jsonl", predictions)
    write_text(folder / "prompt.txt", predictions[0].prompt)
    write_json(folder / "metrics.json", _metrics(task, predictions, seconds) | {"peak_memory": peak_memory()})
    tested = [line for line in predictions if line.split == "test"]
    export(task, name, tested, folder / "lm_eval", artifacts / "prompt" / name / "lm_eval")


def _metrics(task: Task, predictions: Sequence[Prediction], seconds: Sequence[float]) -> dict[str, Any]:
    by_split = {split: [line for line in predictions if line.split == split] for split in ANSWERED}
    metrics: dict[str, Any] = {split: split_metrics(task, lines) for split, lines in by_split.items()}
    metrics |= latency_metrics(seconds)
    return metrics | {f"n_{split}": len(lines) for split, lines in by_split.items()} | {"n_latency": len(seconds)}


def _read_split(prepared: Path, split: Split) -> list[Example]:
    path = prepared / f"{split}.jsonl"
    examples = read_jsonl(path, Example)
    if not examples:
        raise DataError(f"{path} holds no examples: an arm needs at least one in dev and in test; run `dvc repro`")
    return examples


def _encode_checked(local: "LocalModel", strategy: Strategy, task: Task, example: Example, name: str) -> list[int]:
    ids = encode(local.tokenizer, strategy(example))
    if len(ids) + task.max_new_tokens > local.context_window:
        raise EngineError(
            f"arm {name}: the prompt of example {example.id!r} has {len(ids)} tokens, and with {task.max_new_tokens}"
            f" for the answer that is more than the model's context of {local.context_window}: use fewer or shorter"
            " examples, or a model with a longer context"
        )
    return ids


def _prediction(
    split: Split, example: Example, prompt: str, generation: "Generation", parse: Callable[[str, str], Any]
) -> Prediction:
    parsed = parse(generation.text, example.target)
    return Prediction(
        id=example.id,
        split=split,
        output=generation.text,
        answer=parsed.answer,
        target=example.target,
        score=parsed.score,
        valid=parsed.valid,
        prompt=prompt,
        input_tokens=generation.input_tokens,
        cached_tokens=generation.cached_tokens,
        output_tokens=generation.output_tokens,
        seconds=generation.seconds,
    )


def _seconds_alone(
    local: "LocalModel",
    examples: Sequence[Example],
    to_tokens: Callable[[Example], list[int]],
    serving: ServingConfig,
    max_new_tokens: int,
) -> list[float]:
    """Return the wall time of requests sent one at a time, from example to answer: strategy, tokens, generation.

    Each is a batch of its own, so nothing is shared between requests and the whole prompt is computed every time, as
    for a server without a prefix cache. The first `serving.warmup` requests are not timed.
    """
    seconds = []
    for number, example in enumerate(islice(cycle(examples), serving.warmup + serving.requests)):
        start = time.perf_counter()
        local.answer_prompts([to_tokens(example)], max_new_tokens=max_new_tokens)
        if number >= serving.warmup:
            seconds.append(time.perf_counter() - start)
    return seconds
