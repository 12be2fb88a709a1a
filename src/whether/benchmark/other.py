"""Another task than the one that checkpoints are tuned for: is a tuned model a specialist?

The plain prompt is put to examples of a label task, and the label counts whose text is the likeliest continuation, so
that a checkpoint cannot fail for its form of answer alone.
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from whether.chat.messages import zero_shot_messages
from whether.config import TaskConfig
from whether.engine.requests import ScoringRequest
from whether.errors import ConfigError, DataError, near_matches
from whether.model.tokens import encode, encode_answer
from whether.records import Example, Task, UnseenTaskResult
from whether.sources.tables import cell_text, location, read_rows

if TYPE_CHECKING:
    from whether.engine.local import LocalModel


def measure_unseen_task(local: "LocalModel", config: TaskConfig, examples: int, seed: int) -> UnseenTaskResult:
    """Answer at most `examples` rows of a label task, the same ones for every checkpoint.

    Raises ConfigError for a task that has no labels, DataError for rows that cannot be read.
    """
    task, rows = _read(config)
    chosen = sorted(rows, key=lambda row: hashlib.sha256(f"{seed}:{row.id}".encode()).hexdigest())[:examples]
    requests = [
        ScoringRequest(
            tuple(encode(local.tokenizer, zero_shot_messages(task, row))), tuple(encode_answer(local.tokenizer, label))
        )
        for row in chosen
        for label in task.labels
    ]
    scores = [score.log_likelihood for score in local.loglikelihoods(requests)]
    width, right = len(task.labels), 0
    for place, row in enumerate(chosen):
        own = scores[place * width : (place + 1) * width]
        right += task.labels[own.index(max(own))] == row.target
    return UnseenTaskResult(task.name, right / len(chosen), len(chosen))


def _read(config: TaskConfig) -> tuple[Task, list[Example]]:
    if not config.has_labels or "{{" in config.target:
        raise ConfigError(
            f"benchmark.other: {config.name} cannot be scored: a label task is needed, whose target is a column"
        )
    path = Path(config.source.path)
    rows = []
    for line, columns in read_rows(path, config.source):
        for column in (*config.inputs.values(), config.target):
            if column not in columns:
                raise DataError(
                    f"{path} has no column {column!r}, which benchmark.other names{near_matches(column, columns)}"
                )
        try:
            inputs = {variable: cell_text(columns[column], column) for variable, column in config.inputs.items()}
            target = cell_text(columns[config.target], config.target, "target").strip()
        except ValueError as error:
            raise DataError(f"{location(path, line)}: {error}") from None
        rows.append(Example(str(line), inputs, target))
    labels = config.labels or sorted({row.target for row in rows})
    task = Task(
        name=config.name,
        output="label",
        metric=None,
        instruction=config.instruction.replace("{labels}", ", ".join(labels)),
        input_template=config.input_template,
        labels=labels,
        schema=None,
        answer_pattern=None,
        max_new_tokens=config.max_new_tokens,
        inputs=list(config.inputs),
    )
    return task, [row for row in rows if row.target in labels]
