"""What the data look like: artifacts/prepare/profile.json, with the keys

rows             read, collected (by retraining), bad (set aside), duplicates (equal inputs, equal answer), not_sampled
                 (by task.max_rows), other_split (collected ones that resemble a row of another split), recent (held out
                 while new), used
left_out         reason, one of the above → count, and the first three
conflicts        equal inputs with different answers: count of the inputs, rows that have them, ceiling (share of the
                 used rows that one answer for each input can get right, at most), test_ceiling (of the test split), and
                 the first ten
near_duplicates  threshold; rows that resemble another, groups that they form, largest, different_answers (groups that
                 have some); templates: rows that are too many to be near-duplicates of each other, with the threshold
                 above which they stay together, and the first two
units            by split: groups, and rows without one: what intervals count
warnings, notes  sentences: what a person has to see; what `prepare` says at its end
splits           by split: examples; labels (label → count) and majority_share (accuracy of always giving the most
                 frequent label), both null where the task has no labels; input_tokens and target_tokens
                 (mean, p50, p95, max), in the model's tokens, without the prompt around them
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from whether.chat.messages import render_input
from whether.errors import DataError
from whether.model.tokens import encode_answer, encode_text, holds_markup, markup_of
from whether.prepare.clusters import Template
from whether.prepare.duplicates import contradictions
from whether.prepare.rows import SourceRow
from whether.records import Example, Split, Task

SHOWN = 10
TOKENISED = 1000
"""Texts that are tokenised at once."""


def describe_conflicts(rows: Sequence[SourceRow], test: Sequence[Example]) -> dict[str, Any]:
    """Return the profile's `conflicts`, of the rows that are used and those of the test split among them."""
    found = contradictions(rows)
    tested = {example.id for example in test}
    # Equal inputs with an equal answer are one row, so one of each can be right.
    wrong = sum(len(same) - 1 for same in found)
    test_wrong = sum(max(0, sum(row.example.id in tested for row in same) - 1) for same in found)
    shown = [
        {
            "inputs": same[0].example.inputs,
            "answers": [{"line": row.line, "target": row.example.target} for row in same[:SHOWN]],
        }
        for same in found[:SHOWN]
    ]
    return {
        "count": len(found),
        "rows": sum(map(len, found)),
        "ceiling": 1 - wrong / len(rows),
        "test_ceiling": 1 - test_wrong / len(test) if test else None,
        "first": shown,
    }


def describe_near_duplicates(
    rows: Sequence[SourceRow], numbers: Sequence[object], templates: Sequence[Template], threshold: float
) -> dict[str, Any]:
    """Return the profile's `near_duplicates`; `numbers` has the cluster of each row."""
    targets: defaultdict[object, list[str]] = defaultdict(list)
    for row, number in zip(rows, numbers, strict=True):
        targets[number].append(row.example.target)
    groups = [found for found in targets.values() if len(found) > 1]
    return {
        "threshold": threshold,
        "rows": sum(map(len, groups)),
        "groups": len(groups),
        "largest": max(map(len, groups), default=0),
        "different_answers": sum(len(set(found)) > 1 for found in groups),
        "templates": [
            {
                "rows": len(template.members),
                "threshold": template.threshold,
                "first": [rows[member].example.inputs for member in template.members[:2].tolist()],
            }
            for template in templates
        ],
    }


def describe_units(splits: dict[Split, list[Example]]) -> dict[str, int]:
    """Return the profile's `units`."""
    return {name: len({row.group or (row.id,) for row in examples}) for name, examples in splits.items()}


def describe_splits(
    splits: dict[Split, list[Example]], task: Task, lengths: dict[str, tuple[int, int]]
) -> dict[str, dict[str, Any]]:
    """Return the profile's `splits`. `lengths` maps an example's id to its tokens (input, target)."""
    return {name: _describe_split(examples, task, lengths) for name, examples in splits.items()}


def token_lengths(tokenizer: Any, task: Task, rows: Sequence[SourceRow]) -> dict[str, tuple[int, int]]:
    """Return id → tokens of (input, target). Raises DataError for a target longer than `max_new_tokens`."""
    answers = {
        target: len(encode_answer(tokenizer, target)) - 1  # without the token that ends the turn
        for target in dict.fromkeys(row.example.target for row in rows)
    }
    lengths = {}
    for (line, example), asked in zip(rows, _input_lengths(tokenizer, task, rows), strict=True):
        answer = answers[example.target]
        if answer > task.max_new_tokens:
            raise DataError(
                f"line {line}: the target {example.target!r:.80} has {answer} tokens, and task.max_new_tokens is"
                f" {task.max_new_tokens}, so no model could give it: raise max_new_tokens"
            )
        lengths[example.id] = (asked, answer)
    return lengths


def _input_lengths(tokenizer: Any, task: Task, rows: Sequence[SourceRow]) -> Iterator[int]:
    markup = markup_of(tokenizer)
    for start in range(0, len(rows), TOKENISED):
        texts = [render_input(task, row.example) for row in rows[start : start + TOKENISED]]
        encoded = tokenizer(texts, add_special_tokens=False, split_special_tokens=True, return_attention_mask=False)
        for text, ids in zip(texts, encoded["input_ids"], strict=True):
            yield len(encode_text(tokenizer, text) if holds_markup(tokenizer, text, markup) else ids)


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
