"""A bundle: everything an arm answers with, in one folder, so that it can still answer when artifacts/ has changed.

retrain/bundles/<id>/

bundle.json          `whether.records.BundleRecord`, with the hash of every other file
task.json            instruction, labels, how answers are read
train.jsonl          the labelled pool that the prompt draws demonstrations from
checkpoint/          the tuned weights (adapter or others), or that there are none; what was fitted of a baseline
knowledge/           documents, for a prompt that retrieves
predictions.jsonl    its answers to dev and test
verdict.json         the verdict that recommended it

The base model is not in it: it is named by the hash of its weights. A bundle is never changed. It is written to a
temporary folder and renamed, and its id is a hash of its content, so that making it again gives the same one.
"""

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import TypeAdapter, ValidationError

from whether.config import Config, ModelConfig, PromptConfig, ServedConfig
from whether.config.backend import with_chosen_backend
from whether.config.output import SHIPPED, output_component
from whether.config.renamed import with_new_names
from whether.errors import RecordError
from whether.records import (
    CHECKPOINT,
    ArmRecord,
    BundleRecord,
    Example,
    Prediction,
    Task,
    Verdict,
    named_write_errors,
    read_json,
    read_jsonl,
    sha256_file,
    sha256_json,
    to_builtins,
    write_json,
)

T = TypeVar("T")
NO_PROMPT = PromptConfig(strategy={"_target_": "whether.prompt.strategies.zero_shot"}, engineered=False)
"""What a baseline's bundle has in the place of its prompt; it is not asked with it."""


class Bundle(NamedTuple):
    """A bundle that was checked."""

    folder: Path
    record: BundleRecord
    task: Task
    pool: list[Example]
    prompt: PromptConfig
    """With a knowledge folder inside the bundle."""
    model: ModelConfig
    served: ServedConfig | None
    """The served model that answers; None: weights do."""

    @property
    def checkpoint_folder(self) -> Path:
        """The tuned weights."""
        return self.folder / "checkpoint"

    @property
    def predictions(self) -> list[Prediction]:
        """Its answers to dev and test when it was made."""
        return read_jsonl(self.folder / "predictions.jsonl", Prediction)


def make_bundle(arm: str, config: Config, artifacts: Path, bundles: Path) -> Bundle:
    """Put an arm of the last pipeline run into a bundle, unless it is there already. Raises RecordError."""
    verdict = read_json(artifacts / "compare" / "verdict.json", Verdict)
    record, sources = bundle_record(arm, verdict, config, artifacts)
    target = bundles / record.id
    if not (target / "bundle.json").exists():
        folder = bundles / ".making"
        with named_write_errors(folder):
            shutil.rmtree(folder, ignore_errors=True)
        write_bundle(record, sources, folder)
        with named_write_errors(target):
            folder.rename(target)
    return load_bundle(target)


def write_bundle(record: BundleRecord, sources: Mapping[str, Path], folder: Path) -> None:
    """Copy a bundle's files into a new folder; what names them is written last."""
    with named_write_errors(folder):
        for name, source in sources.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, folder / name)
    write_json(folder / "bundle.json", record)


def bundle_record(arm: str, verdict: Verdict, config: Config, artifacts: Path) -> tuple[BundleRecord, dict[str, Path]]:
    """Return what the bundle of an arm of the last pipeline run is, and its files: path in the bundle → file to copy.

    Nothing is written. Raises RecordError for an arm that the verdict or `config` does not know.
    """
    found = _selected_arm(arm, verdict, config)
    baseline = config.baselines[arm].model if found.answer == "neither" else None
    prompt = NO_PROMPT if baseline else config.prompts[found.prompt]
    served = None if baseline else config.checkpoints[found.checkpoint].served
    model = with_chosen_backend(config.model, artifacts)
    model = dataclasses.replace(model, dtype=verdict.provenance.dtype or model.dtype)
    sources = {name: artifacts / "prepare" / name for name in ("task.json", "train.jsonl")}
    sources["predictions.jsonl"] = artifacts / "score" / arm / "predictions.jsonl"
    sources["verdict.json"] = artifacts / "compare" / "verdict.json"
    made = artifacts / "baseline" / "fitted" / arm if baseline else artifacts / "finetune" / found.checkpoint
    sources |= dict(_files_under("checkpoint", made / CHECKPOINT))
    if prompt.strategy.get("folder"):
        sources |= dict(_files_under("knowledge", Path(prompt.strategy["folder"])))
    metrics = {name: measured.value for name, measured in found.metrics.items() if measured.value is not None}
    scores = [line.score for line in read_jsonl(sources["predictions.jsonl"], Prediction) if line.split == "test"]
    record = BundleRecord(
        id="",
        arm=arm,
        checkpoint=found.checkpoint,
        prompt_name=found.prompt,
        task=verdict.task,
        kind=found.answer,
        model=served.model if served else verdict.model,
        model_hash=verdict.provenance.model_hash,
        model_settings=dataclasses.asdict(model),
        prompt=dataclasses.asdict(prompt),
        prompt_hash=prompt_hash(config, prompt),
        seed=config.seed,
        quality=metrics[verdict.metric],
        metric=verdict.metric,
        metrics=metrics | {"n_test": float(len(scores)), "mean_score": sum(scores) / len(scores)},
        commit=verdict.provenance.commit,
        labels=len(read_jsonl(sources["train.jsonl"], Example)),
        served=dataclasses.asdict(served) if served else None,
        baseline=baseline,
        files={name: sha256_file(file) for name, file in sorted(sources.items())},
    )
    return dataclasses.replace(record, id=sha256_json(to_builtins(record))[:12]), sources


def _selected_arm(arm: str, verdict: Verdict, config: Config) -> ArmRecord:
    """Return what the verdict says of an arm. Raises RecordError where it or `config` does not know the arm."""
    if arm not in verdict.arms:
        raise RecordError(f"{arm} is not an arm of the last verdict; there are {', '.join(verdict.arms)}")
    found = verdict.arms[arm]
    if found.answer == "neither":
        if arm not in config.baseline_names:
            raise RecordError(f"{arm} was made with other settings: select {arm}, as in baseline=[{arm}]")
        return found
    if found.prompt not in config.prompts:
        raise RecordError(f"{arm} was made with other settings: select {found.prompt}, as in prompt=[{found.prompt}]")
    if found.checkpoint not in config.checkpoints:  # such as a warm start from a champion that was replaced since
        raise RecordError(
            f"{arm} was made with other settings, which have a checkpoint {found.checkpoint}: give no settings, to"
            " use those of the last run"
        )
    return found


def _files_under(name: str, folder: Path) -> list[tuple[str, Path]]:
    """Return the files of a folder, with their paths in the bundle. Raises RecordError where there are none."""
    if not folder.is_dir():
        raise RecordError(f"{folder} is missing, which a bundle needs as {name}/: run `whether run` to make it")
    return [(f"{name}/{file.relative_to(folder).as_posix()}", file) for file in folder.rglob("*") if file.is_file()]


def prompt_hash(config: Config, prompt: PromptConfig) -> str:
    """Return the hash of everything that makes a prompt's text: its settings, the task's wording and output."""
    task = config.task
    wording: list[Any] = [
        task.instruction,
        task.input_template,
        task.output,
        task.answer_pattern,
        task.schema,
        task.definitions,
    ]
    kind = output_component(task.output, task.output_settings, "task")
    if kind != {"_target_": SHIPPED.get(task.output)}:  # a champion of before 0.2 has a shipped kind, and the same hash
        wording.append(kind)
    settings = dataclasses.asdict(prompt)
    # Names of before 0.2 and 0.3: a champion of then has not changed.
    settings["answering"] = settings.pop("decoding")
    settings["plain"] = not settings.pop("engineered")
    return sha256_json([settings, *wording, task.max_new_tokens])


def _inside(folder: Path, name: str) -> Path:
    """Return a file of a bundle. Raises RecordError for a name, or a link, that leads out of the folder."""
    file = folder / name
    if Path(name).is_absolute() or not file.resolve().is_relative_to(folder.resolve()):
        raise RecordError(f"{folder / 'bundle.json'}, files: {name!r} is not in the bundle's own folder; roll back")
    return file


def load_bundle(folder: Path) -> Bundle:
    """Read a bundle and check every file of it. Raises RecordError for one that is incomplete."""
    record = read_json(folder / "bundle.json", BundleRecord)
    for name, expected in record.files.items():
        file = _inside(folder, name)
        if not file.is_file() or sha256_file(file) != expected:
            state = "is not what was put there" if file.is_file() else "is missing"
            raise RecordError(f"{file} {state}: the bundle {record.id} cannot answer; roll back, or promote another")
    prompt = _settings(folder, "prompt", PromptConfig, with_new_names(record.prompt, ("prompts", record.prompt_name)))
    if prompt.strategy.get("folder"):
        prompt = dataclasses.replace(prompt, strategy=prompt.strategy | {"folder": str(folder / "knowledge")})
    return Bundle(
        folder,
        record,
        read_json(folder / "task.json", Task),
        read_jsonl(folder / "train.jsonl", Example),
        prompt,
        _settings(folder, "model_settings", ModelConfig, record.model_settings),
        _settings(folder, "served", ServedConfig, record.served) if record.served is not None else None,
    )


def _settings(folder: Path, key: str, kind: type[T], values: Any) -> T:
    """Return settings that a bundle was made with. Raises RecordError naming the field that does not fit."""
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in (key, *first["loc"]))
        raise RecordError(f"{folder / 'bundle.json'}, {field}: {first['msg']}; roll back, or promote another") from None
