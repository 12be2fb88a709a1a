"""What the data look like: artifacts/prepare/profile.json, with the keys

rows          read, collected (by retraining), bad (set aside), duplicates, not_sampled (by task.max_rows),
              near_duplicates, recent (held out while new), used
conflicts     rows dropped as duplicates of one with another answer: count, and the first ten
splits        by split: examples; labels (label → count) and majority_share (accuracy of always giving the most
              frequent label), both null where the task has no labels; input_tokens and target_tokens
              (mean, p50, p95, max), in the model's tokens, without the prompt around them
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from whether.chat.messages import render_input
from whether.errors import DataError
from whether.model.tokens import encode_answer, encode_text
from whether.prepare.duplicates import Dropped
from whether.prepare.rows import SourceRow
from whether.records import Example, Split, Task

SHOWN = 10


def describe_conflicts(dropped: Sequence[Dropped]) -> dict[str, Any]:
    """Return the profile's `conflicts`."""
    conflicts = [drop for drop in dropped if drop.conflict]
    shown = [
        {
            "line": drop.row.line,
            "inputs": drop.row.example.inputs,
            "target": drop.row.example.target,
            "kept_line": drop.kept.line,
            "kept_inputs": drop.kept.example.inputs,
            "kept_target": drop.kept.example.target,
        }
        for drop in conflicts[:SHOWN]
    ]
    return {"count": len(conflicts), "first": shown}


def describe_splits(
    splits: dict[Split, list[Example]], task: Task, lengths: dict[str, tuple[int, int]]
) -> dict[str, dict[str, Any]]:
    """Return the profile's `splits`. `lengths` maps an example's id to its tokens (input, target)."""
    return {name: _describe_split(examples, task, lengths) for name, examples in splits.items()}


def token_lengths(tokenizer: Any, task: Task, rows: Sequence[SourceRow]) -> dict[str, tuple[int, int]]:
    """Return id → tokens of (input, target). Raises DataError for a target longer than `max_new_tokens`."""
    lengths = {}
    for line, example in rows:
        text = render_input(task, example)
        asked = len(encode_text(tokenizer, text))
        answer = len(encode_answer(tokenizer, example.target)) - 1  # without the token that ends the turn
        if answer > task.max_new_tokens:
            raise DataError(
                f"line {line}: the target {example.target!r:.80} has {answer} tokens, and task.max_new_tokens is"
                f" {task.max_new_tokens}, so no model could give it: raise max_new_tokens"
            )
        lengths[example.id] = (asked, answer)
    return lengths


def _describe_split(examples: Sequence[Example], task: Task, lengths: dict[str, tuple[int, int]]) -> dict[str, Any]:
    counts = Counter(example.target for example in examples)
    return {
        "examples": len(examples),
        "majority_share": max(counts.values()) / len(examples) if task.labels else None,
        "labels": {label: counts[label] for label in task.labels} if task.labels else None,
        "input_tokens": _quantiles([lengths[example.id][0] for example in examples]),
        "target_tokens": _quantiles([lengths[example.id][1] for example in examples]),
    }


def _quantiles(values: Sequence[int]) -> dict[str, float]:
    return {
        "mean": float(np.mean(values)),
        "p50": float(np.percentile(values, 50)),
        "p95": float(np.percentile(values, 95)),
        "max": float(np.max(values)),
    }
