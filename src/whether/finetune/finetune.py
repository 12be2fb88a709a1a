"""The finetune stage: a checkpoint from its training set, or the record of the base model unchanged."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from whether.config import ModelConfig, TunerConfig, WarmStartConfig, build
from whether.errors import ConfigError, EngineError, RecordError
from whether.finetune import checkpoints, processes, results
from whether.finetune.checkpoints import require_disk_space
from whether.finetune.collapse import Examine, train_with_retry
from whether.finetune.data import Classes, LeftOut, encode_rows, fitting, label_rows
from whether.finetune.micro_batches import ADVICE
from whether.finetune.results import TrainingResult
from whether.model.info import cpu_count
from whether.model.loading import load_base, load_tokenizer, select_device
from whether.model.memory import is_out_of_memory
from whether.model.precision import with_native_precision
from whether.records import (
    STATE,
    RowPlace,
    TrainingExample,
    TrainingSet,
    are_imbalanced,
    named_write_errors,
    read_json,
    read_jsonl,
    sha256_file,
    sha256_folder,
    sha256_json,
    to_builtins,
    write_jsonl,
)

logger = logging.getLogger(__name__)


def finetune(
    name: str, tuner: TunerConfig | None, model: ModelConfig, seed: int,
    *, model_folder: Path, training_set: Path, folder: Path | None, max_failed: float = 0.0, lines: Path | None = None,
) -> None:  # fmt: skip
    """Make checkpoint `name` from a base model and a training set (`whether.records.training_set`) into `folder`.

    Examples that are longer than the tuner allows are left out, up to the share `max_failed` of a split, and recorded
    in left_out.jsonl with the lines of the data that `lines` (artifacts/prepare/lines.jsonl) gives them. That file is
    for people alone: what is trained does not depend on it.

    A run that was killed resumes from its last whole checkpoint in .state/finetune/ and gives the same result. A
    training that has collapsed is tried once more (`whether.finetune.collapse`). Of several processes that train
    together the main one has the `folder` and the others None. Raises DataError for too many examples longer than the
    tuner allows, EngineError if training diverges or has too little memory, and RecordError if the disk is full.
    """
    if tuner is None:
        if folder is not None:
            results.write_base(name, model.name, seed, folder)
        return
    processes.begin()
    model = with_native_precision(model)
    data, left_out = within_length(read_data(training_set), tuner.max_length, model_folder, max_failed, lines)
    states = STATE / "finetune"
    state = states / f"{name}-{state_key(tuner, model, seed, data, model_folder)[:16]}"

    def attempt(tuner: TunerConfig, state: Path, examine: Examine | None) -> TrainingResult:
        return train(tuner, model, seed, data, model_folder=model_folder, state=state, examine=examine)

    trained = train_with_retry(attempt, tuner, state, data.train, data.dev)
    if folder is None:
        return
    with require_disk_space(folder, sum(file.stat().st_size for file in trained.best.iterdir())):
        results.write_tuned(name, tuner, model, seed, trained=trained, folder=folder)
    if left_out:
        write_jsonl(folder / "left_out.jsonl", (one._asdict() for one in left_out))
    for finished in states.glob(f"{name}-*"):
        checkpoints.delete_state(finished)


class TrainingData(NamedTuple):
    """What there is to tune on."""

    task: TrainingSet
    train: list[TrainingExample]
    dev: list[TrainingExample]


def within_length(
    data: TrainingData, max_length: int, model_folder: Path, max_failed: float, lines: Path | None
) -> tuple[TrainingData, list[LeftOut]]:
    """Return the data without the examples that are too long, and those. Raises DataError where they are too many."""
    places = {place.id: place for place in read_jsonl(lines, RowPlace)} if lines and lines.exists() else {}
    tokenizer = load_tokenizer(model_folder)
    train, dev = (
        fitting(tokenizer, examples, max_length, split, max_failed=max_failed, places=places)
        for split, examples in (("train", data.train), ("dev", data.dev))
    )
    return TrainingData(data.task, train.kept, dev.kept), [*train.left_out, *dev.left_out]


def read_data(training_set: Path) -> TrainingData:
    """Read a folder like artifacts/training_set/<checkpoint>."""
    task = read_json(training_set / "training_set.json", TrainingSet)
    splits = (read_jsonl(training_set / f"{split}.jsonl", TrainingExample) for split in ("train", "dev"))
    return TrainingData(task, *splits)


def state_key(tuner: TunerConfig, model: ModelConfig, seed: int, data: TrainingData, model_folder: Path) -> str:
    """Return a hash of all that determines the result: unfinished work is resumed only under the same key."""
    return sha256_json(
        {
            "tuner": to_builtins(tuner),
            "seed": seed,
            "processes": processes.count(),
            "dtype": model.dtype,
            "model": sha256_folder(model_folder),
            "task": to_builtins(data.task),
            "train": [to_builtins(example) for example in data.train],
            "dev": [to_builtins(example) for example in data.dev],
            "code": sha256_folder(Path(__file__).parent, "*.py"),
        }
    )


def train(
    tuner: TunerConfig,
    model: ModelConfig,
    seed: int,
    data: TrainingData,
    *,
    model_folder: Path,
    state: Path,
    callbacks: Sequence[Any] = (),
    examine: Examine | None = None,
) -> TrainingResult:
    """Train, or resume training from what `state` holds, until all steps are done or dev stops improving.

    `callbacks` are `TrainerCallback`s that may watch, or end training. What `examine` finds out about the best weights,
    while there is a model to load them into, are the result's `answers`.
    """
    import torch
    from peft import PeftModel
    from transformers import set_seed

    from whether.finetune.trainer import make_trainer
    from whether.model.label_head import label_head

    # 1. The base model, and the texts as its tokens.
    check(tuner, data.task)
    set_threads(model.threads)
    device = select_device(model.device)
    base, tokenizer = load_base(model_folder, getattr(torch, model.dtype))
    train_rows = encode_rows(tokenizer, data.train)
    dev_rows = encode_rows(tokenizer, data.dev)
    # 2. What is trained: the adapter, and rows of labels where it has a head for them.
    set_seed(seed)
    adapted = build(tuner.adapter, base, data.task, where="tuner.adapter")
    require_trainable(adapted, str(tuner.adapter["_target_"]))
    train_in_float32(adapted)
    if tuner.warm_start:
        load_start_adapter(adapted, tuner.warm_start)
    head = label_head(adapted)
    if head is not None:
        train_rows = label_rows(train_rows, data.train, head.labels)
        dev_rows = label_rows(dev_rows, data.dev, head.labels)
    # 3. The training.
    classes = classes_to_balance(tuner, data)
    with explain_oom(), deterministic(device):
        trainer = make_trainer(
            adapted, tuner, train_rows, dev_rows, seed=seed, cpu=device == "cpu", output_dir=state, classes=classes
        )
        for callback in callbacks:
            trainer.add_callback(callback)
        # Each process drops its own inputs out; the weights are the main one's.
        torch.manual_seed(seed + processes.index())
        end = run(trainer, state)
        # 4. What came of it; the best step's weights are among the checkpoints that Trainer has left in `state`.
        trained = TrainingResult(
            best=state / f"checkpoint-{end['best_global_step']}",
            best_step=end["best_global_step"],
            history=results.from_log(end["log_history"]),
            stopped_early=end["global_step"] < end["max_steps"],
            trainable_parameters=sum(weight.numel() for weight in adapted.parameters() if weight.requires_grad),
            shared_prefix=trainer.collator.packed,
            train_rows=len(train_rows),
            dev_rows=len(dev_rows),
            kind="head" if head is not None else "adapter" if isinstance(adapted, PeftModel) else "weights",
            labels=None if head is None else list(head.labels),
        )
        return trained._replace(answers=examine(trainer, trained)) if examine else trained


def classes_to_balance(tuner: TunerConfig, data: TrainingData) -> Classes | None:
    """Return the rows' classes where each is to count equally; None where rows count as often as they come."""
    found = Classes(*([str(example.label) for example in split] for split in (data.train, data.dev)))
    if tuner.balanced == "auto":
        if not data.task.labels or not are_imbalanced(found.train):
            return None
        logger.info("labels are imbalanced: each is drawn equally often (tuner.balanced=false: as they come)")
        return found
    return found if tuner.balanced else None


def require_trainable(adapted: Any, target: str) -> None:
    """Raise ConfigError unless a tuner has returned a model with something to train."""
    if not hasattr(adapted, "parameters") or not hasattr(adapted, "get_output_embeddings"):
        raise ConfigError(
            f"tuner.adapter: {target} returned {type(adapted).__name__}: expected the model, with requires_grad set on"
            " the weights to train"
        )
    if not any(weight.requires_grad for weight in adapted.parameters()):
        raise ConfigError(
            f"tuner.adapter: {target} returned a model of which no weight has requires_grad: nothing would be trained"
        )


def train_in_float32(adapted: Any) -> None:
    """Change the whole model to float32 where a weight to train is not: in bfloat16 small updates would round to none.

    That is where the base's own weights are trained; adapters and heads are float32 next to a base of any precision.
    """
    import torch

    if any(weight.requires_grad and weight.dtype != torch.float32 for weight in adapted.parameters()):
        adapted.float()


def load_start_adapter(adapted: Any, start: WarmStartConfig) -> None:
    """Put trained weights into an adapter before it is trained. Raises ConfigError for what is not its like."""
    from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors.torch import load_file

    file = Path(start.adapter) / "adapter_model.safetensors"
    if not file.is_file():
        raise ConfigError(
            f"tuner.warm_start.adapter: {file} is missing; start without (warm_start: null) or name another one"
        )
    if sha256_file(file) != start.sha256:
        raise ConfigError(f"tuner.warm_start.sha256: {file} holds other weights; name those that you mean")
    if not isinstance(adapted, PeftModel):
        raise ConfigError("tuner.warm_start: this tuner trains no adapter, so it cannot continue from one")
    weights, own = load_file(file), get_peft_model_state_dict(adapted)
    other = sorted(
        name for name in weights.keys() | own.keys()
        if name not in weights or name not in own or weights[name].shape != own[name].shape
    )  # fmt: skip
    if other:
        raise ConfigError(
            f"tuner.warm_start: {file} is of another adapter: {len(other)} weights have no like here, such as"
            f" {other[0]}; method, rank and layers have to be the same"
        )
    set_peft_model_state_dict(adapted, weights)


def check(tuner: TunerConfig, task: TrainingSet) -> None:
    """Raise ConfigError for settings that do not fit the task or the number of processes."""
    if tuner.balanced is True and not task.labels:
        raise ConfigError(
            f"tuner.balanced: true draws every label equally often, but task {task.name} has output: {task.output} and"
            " so no labels; set tuner.balanced=false"
        )
    if processes.count() > tuner.batch_size:
        raise ConfigError(
            f"tuner.batch_size is {tuner.batch_size}: that many examples cannot be shared by {processes.count()}"
            " processes; start fewer, or raise tuner.batch_size"
        )


def run(trainer: Any, state: Path) -> dict[str, Any]:
    """Train from the last whole checkpoint to the end, if that was not the end; return what Trainer knew there."""
    from tqdm.contrib.logging import logging_redirect_tqdm

    from whether.finetune.callbacks import GracefulStop, ProgressBar

    start, values = processes.from_main(lambda: last_state(state))
    if start and checkpoints.is_finished(values):
        return values
    if start:
        logger.info("going on from step %s of an unfinished run", values["global_step"])
        trainer.micro_batches.size = results.from_log(values["log_history"]).steps[-1].micro_batch_size
    stop = GracefulStop()
    trainer.add_callback(stop)
    trained = sum(weight.nbytes for weight in trainer.model.parameters() if weight.requires_grad)
    # The weights, AdamW's two moments of each, and what does not depend on the model: settings, log, random numbers.
    needed = 3 * trained + 100_000
    try:
        with (
            named_write_errors(state),
            require_disk_space(state, needed),
            stop.listening(),
            logging_redirect_tqdm([logging.getLogger("whether")]),
        ):
            trainer.train(resume_from_checkpoint=str(start) if start else None)
    except RecordError:
        if processes.is_main():
            checkpoints.last_sealed(state)  # What is half-written goes, so that it takes no room.
        raise
    finally:
        trainer.pop_callback(ProgressBar).close()
    end, values = processes.from_main(lambda: last_state(state))
    if end is None:
        raise EngineError(f"{state} was emptied while training went on: run again")
    return values


def last_state(state: Path) -> tuple[Path | None, dict[str, Any]]:
    """Return the last whole checkpoint and what Trainer knew there; None and nothing if there is none."""
    checkpoint = checkpoints.last_sealed(state)
    return checkpoint, checkpoints.state(checkpoint) if checkpoint else {}


@contextmanager
def explain_oom() -> Iterator[None]:
    """Turn memory running out where smaller micro-batches would not help into an EngineError."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise EngineError(f"out of memory while the model and its optimizer were set up or saved; {ADVICE}") from error


@contextmanager
def deterministic(device: str) -> Iterator[None]:
    """On a CPU, use algorithms that give the same sums each time, however many threads there are; it costs nothing.

    On an accelerator they would cost speed, and some operations have none. What has none on a CPU is warned of.
    """
    import torch
    import torch.utils.deterministic

    settings: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), settings.fill_uninitialized_memory
    torch.use_deterministic_algorithms(device == "cpu" or before[0], warn_only=True)
    settings.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        settings.fill_uninitialized_memory = before[1]


def set_threads(threads: int | None) -> None:
    """Use so many CPU threads; None: one for each core that the process may use, shared by those on this machine."""
    import torch

    torch.set_num_threads(threads or max(1, cpu_count() // processes.on_this_machine()))
