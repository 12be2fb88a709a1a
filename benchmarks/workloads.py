"""What the engine's benchmarks ask, as lm-eval instances, and how much computing that needs."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from whether.engine.prefix_tree import PrefixTree, Tokens
from whether.records import Example, Task, read_json, read_jsonl

ARTIFACTS = Path("artifacts")
SUITE = Path("src/whether/benchmark/tasks")
CHOICE_TASK = "whether_code_line"
"""A task of the retention suite: a few lines of code, and four descriptions of one line."""
EXAMPLES = 8
"""Examples in the few-shot prompt, the first of the training split."""
QUERIES = 200
STOP = ["\n"]
NEW_TOKENS = 12


class Workload(NamedTuple):
    """Requests of one kind, in lm-eval's form."""

    key: str
    title: str
    kind: str
    """`loglikelihood` or `generate_until`: the method of an lm-eval model that answers them."""
    instances: list[Any]
    group: int
    """Requests that one query has, so that a sample holds whole queries."""


def snips() -> list[Workload]:
    """Return label scoring with and without examples, and generation, on the default task that `make run` prepared."""
    labels, head, _ = snips_texts(0)
    _, shots, queries = snips_texts(EXAMPLES)
    few, zero = ([(prefix + query, f" {label}") for query in queries for label in labels] for prefix in (shots, head))
    ending = {"until": STOP, "max_gen_toks": NEW_TOKENS, "do_sample": False}
    return [
        _workload("scoring_fewshot", "label scoring, 8 examples", "loglikelihood", few, len(labels)),
        _workload("scoring_zeroshot", "label scoring, no examples", "loglikelihood", zero, len(labels)),
        _workload("generation", "generation, 8 examples", "generate_until", [(shots + q, ending) for q in queries], 1),
    ]


def snips_texts(examples: int) -> tuple[list[str], str, list[str]]:
    """Return the labels of the default task that `make run` prepared, a prompt with so many examples, and queries."""
    try:
        task = read_json(ARTIFACTS / "prepare/task.json", Task)
        train, test = (read_jsonl(ARTIFACTS / f"prepare/{split}.jsonl", Example) for split in ("train", "test"))
    except FileNotFoundError as error:
        sys.exit(f"{error.filename} is not there: run `make run` first")
    if task.name != "snips" or len(test) < QUERIES:
        sys.exit(f"artifacts/prepare holds task {task.name} with {len(test)} test rows, and this needs snips: make run")
    shown = "".join(f"Utterance: {_text(row)}\nIntent: {row.target}\n\n" for row in train[:examples])
    queries = [f"Utterance: {_text(row)}\nIntent:" for row in test[:QUERIES]]
    return list(task.labels), f"{task.instruction}\n\n{shown}", queries


def multiple_choice(name: str, documents: int) -> Workload:
    """Return the first documents of a task of the retention suite as lm-eval itself asks them.

    Only those with the usual number of choices, so that whole documents can be sampled.
    """
    from lm_eval.tasks import TaskManager

    task = TaskManager(include_path=str(SUITE), include_defaults=False).load([name])["tasks"][name]
    task.build_all_requests(limit=documents)
    choices = Counter(instance.doc_id for instance in task.instances)
    usual = Counter(choices.values()).most_common(1)[0][0]
    alike = [instance for instance in task.instances if choices[instance.doc_id] == usual]
    title = f"multiple choice, {name.removeprefix('whether_')}"
    return Workload("scoring_multiple_choice", title, "loglikelihood", alike, usual)


def _text(row: Example) -> str:
    return row.inputs["utterance"]


def _workload(key: str, title: str, kind: str, arguments: Sequence[tuple[str, Any]], group: int) -> Workload:
    from lm_eval.api.instance import Instance

    instances = [Instance(kind, {}, pair, index) for index, pair in enumerate(arguments)]
    return Workload(key, title, kind, instances, group)


class Work(NamedTuple):
    """Tokens and floating-point operations of log-likelihood requests."""

    asked: int
    """Tokens of all requests: what a backend that shares nothing puts through the model."""
    computed: int
    """Different prefixes among them: what has to go through the model."""
    operations: float
    """Multiplications and additions for `computed`, with logits only where one is asked for."""


def work(model: Any, tokenizer: Any, workload: Workload) -> Work:
    """Count what a workload of log-likelihoods needs: matrix products of the layers, attention and wanted logits."""
    encoded = [_encode(tokenizer, *instance.args) for instance in workload.instances]
    sequences = [context + rest[:-1] for context, rest in encoded]
    tree = PrefixTree(sequences)
    starts = zip(tree.sequences, tree.shared, strict=True)
    seen = sum(sum(range(shared + 1, len(tokens) + 1)) for tokens, shared in starts)
    wanted = {
        tokens[: place + 1]
        for (context, _), tokens in zip(encoded, sequences, strict=True)
        for place in range(len(context) - 1, len(tokens))
    }
    computed = sum(len(tokens) - shared for tokens, shared in zip(tree.sequences, tree.shared, strict=True))
    config = model.config
    layers = sum(
        module.in_features * module.out_features
        for name, module in model.named_modules()
        if ".layers." in name and hasattr(module, "in_features")
    )
    head = config.vocab_size * config.hidden_size
    attention = 4 * config.num_hidden_layers * config.num_attention_heads * config.head_dim
    operations = 2.0 * layers * computed + attention * seen + 2.0 * head * len(wanted)
    return Work(sum(len(context) + len(rest) - 1 for context, rest in encoded), computed, operations)


def _encode(tokenizer: Any, context: str, continuation: str) -> tuple[Tokens, Tokens]:
    """Split tokens as lm-eval does: the context's trailing space belongs to the continuation."""
    spaces = len(context) - len(context.rstrip())
    if spaces:
        context, continuation = context[:-spaces], context[-spaces:] + continuation
    whole = tokenizer.encode(context + continuation)
    first = len(tokenizer.encode(context))
    return tuple(whole[:first]), tuple(whole[first:])
