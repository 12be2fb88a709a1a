"""What checkpoints are tuned on: the stage `training_set` turns examples into the texts that tuning reads.

An example is asked with the task's instruction and the input alone, or, where the tuner names a prompt, with that
prompt's messages. An edit here, of a strategy or of a parser reruns this stage, which takes seconds; a checkpoint is
tuned again only if its texts have changed.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from whether.chat.messages import TrainingFormat, render_input, zero_shot_messages
from whether.chat.templates import TemplateError
from whether.config import CONF, PromptConfig, TunerConfig, build
from whether.errors import ConfigError, DataError
from whether.outputs.decoding import DecodingStrategy
from whether.prompt.build import checked_strategy
from whether.prompt.strategies import Retrieval, Strategy
from whether.records import (
    Example,
    Message,
    Task,
    TrainingExample,
    TrainingSet,
    read_json,
    read_jsonl,
    write_json,
    write_jsonl,
)

SPLITS = ("train", "dev")


def write_training_set(name: str, tuner: TunerConfig | None, seed: int, *, prepared: Path, folder: Path) -> None:
    """Write what checkpoint `name` is tuned on; nothing but the task for one that is not tuned.

    `prepared` is artifacts/prepare. Raises DataError for an empty split, and ConfigError for a prompt that cannot be
    built or learnt.
    """
    task = read_json(prepared / "task.json", Task)
    splits = {split: read_jsonl(prepared / f"{split}.jsonl", Example) for split in SPLITS} if tuner else {}
    for split, examples in splits.items():
        if not examples:
            raise DataError(f"{prepared / f'{split}.jsonl'} has no examples: give the {split} split a larger share")
    write_training_rows(name, tuner, seed, task, pool=splits.get("train", []), splits=splits, folder=folder)


def write_training_rows(
    name: str, tuner: TunerConfig | None, seed: int, task: Task, *, pool: Sequence[Example],
    splits: Mapping[str, Sequence[Example]], folder: Path,
) -> None:  # fmt: skip
    """Write a training set of these rows; a tuner's prompt draws its demonstrations from `pool`."""
    write_json(folder / "training_set.json", TrainingSet(task.name, task.output, task.labels, task.instruction))
    if tuner is None:
        return
    where = f"{CONF / 'checkpoint' / name}.yaml: tuner.prompt"
    chosen = training_format(tuner.prompt, task, pool, seed, where) if tuner.prompt else plain_format(task)
    for split, examples in splits.items():
        rows = [_training_example(task, chosen, example) for example in examples]
        write_jsonl(folder / f"{split}.jsonl", [row.as_line() for row in rows])


def _training_example(task: Task, chosen: TrainingFormat, example: Example) -> TrainingExample:
    messages, answer = chosen(example)
    label = example.target if task.labels else None
    return TrainingExample(example.id, list(messages), [Message("assistant", answer)], label)


def plain_format(task: Task) -> TrainingFormat:
    """Ask with the task's instruction and the input, nothing else."""
    return lambda example: (zero_shot_messages(task, example), example.target)


def training_format(prompt: PromptConfig, task: Task, pool: Sequence[Example], seed: int, where: str) -> TrainingFormat:
    """Return how examples are asked with a prompt, demonstrations drawn from `pool`, the training split.

    An example is never its own demonstration: where the prompt would show it, that turn is left out. `where` names the
    setting in messages. Raises ConfigError for a prompt that cannot be built, and for one that nothing can be learnt
    with: whose right outputs are not known (a chain of thought), or that shows passages.
    """
    try:
        decoding: DecodingStrategy = build(prompt.decoding, task, seed, where=f"{where}.decoding")
        strategy: Strategy = build(prompt.strategy, task, pool, seed, where=f"{where}.strategy")
    except TemplateError as fault:
        raise ConfigError(f"{where}.strategy.instruction, line {fault.line}: {fault.reason}") from None
    if decoding.answer_prefix is not None:
        raise ConfigError(
            f"{where}: what the model should write before {decoding.answer_prefix!r} is not known, so not learnt"
        )
    if isinstance(strategy, Retrieval):
        raise ConfigError(f"{where}: tuning with passages is not built; tune without, and retrieve with the result")
    ask = checked_strategy(strategy, prompt, f"{where}.strategy")

    def lesson(example: Example) -> tuple[list[Message], str]:
        messages = _drop_own_demonstration(ask(example), render_input(task, example), example.target)
        return decoding.format_demonstrations(messages), decoding.format_target(example.target)

    return lesson


def _drop_own_demonstration(messages: list[Message], text: str, target: str) -> list[Message]:
    """Leave out a demonstration that is the example itself."""
    kept: list[Message] = []
    *demonstrations, asked = messages
    for message in demonstrations:
        if message == Message("assistant", target) and kept and kept[-1] == Message("user", text):
            kept.pop()
        else:
            kept.append(message)
    return [*kept, asked]
