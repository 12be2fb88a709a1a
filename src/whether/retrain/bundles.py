"""A bundle: all that answers as one arm did, in one folder, so that it can answer when artifacts/ has moved on.

retrain/bundles/<id>/

bundle.json          `whether.records.BundleRecord`, with the hash of every other file
task.json            instruction, labels, how answers are read
train.jsonl          the labelled pool that the prompt draws demonstrations from
checkpoint/          the tuned weights (adapter or others), or that there are none
knowledge/           documents, for a prompt that retrieves
predictions.jsonl    its answers to dev and test
verdict.json         the verdict that recommended it

The base model is not in it: it is named by the hash of its weights. A bundle is never changed. It is made beside its
place and renamed into it, and its id is a hash of its content, so that making it again gives the same one.
"""

import dataclasses
import shutil
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter

from whether.compare.load import Study, load_study
from whether.config import Config, ModelConfig, PromptConfig, ServedConfig
from whether.errors import RecordError
from whether.records import (
    BundleRecord,
    Example,
    Prediction,
    Task,
    Verdict,
    read_json,
    read_jsonl,
    sha256_file,
    sha256_plain,
    to_plain,
    write_json,
    writing,
)
from whether.retrain.triggers import prompt_hash

NOT_NEEDED = {"history.jsonl", "loss.csv", "loss.svg"}
"""Of a checkpoint: what is there to be looked at."""


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
    if arm not in verdict.arms:
        raise RecordError(f"{arm} is no arm of the last verdict; there are {', '.join(verdict.arms)}")
    found = verdict.arms[arm]
    if found.prompt not in config.prompts:
        raise RecordError(f"{arm} was made with other settings: select {found.prompt}, as in prompt=[{found.prompt}]")
    study = load_study(config, artifacts)
    prompt = config.prompts[found.prompt]
    folder = bundles / ".making"
    with writing(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in ("task.json", "train.jsonl"):
            shutil.copyfile(artifacts / "prepare" / name, folder / name)
        shutil.copyfile(artifacts / "prompt" / arm / "predictions.jsonl", folder / "predictions.jsonl")
        shutil.copyfile(artifacts / "compare" / "verdict.json", folder / "verdict.json")
        tuned = artifacts / "finetune" / found.checkpoint
        shutil.copytree(tuned, folder / "checkpoint", ignore=lambda _, names: NOT_NEEDED.intersection(names))
        if prompt.strategy.get("folder"):
            shutil.copytree(prompt.strategy["folder"], folder / "knowledge")
    record = _record(arm, verdict, study, config, folder)
    write_json(folder / "bundle.json", record)
    target = bundles / record.id
    with writing(target):
        if (target / "bundle.json").exists():
            shutil.rmtree(folder)
        else:
            folder.rename(target)
    return load_bundle(target)


def _record(arm: str, verdict: Verdict, study: Study, config: Config, folder: Path) -> BundleRecord:
    found = verdict.arms[arm]
    prompt, served = config.prompts[found.prompt], config.checkpoints[found.checkpoint].served
    metrics = {name: measured.value for name, measured in found.metrics.items() if measured.value is not None}
    scores = [line.score for line in study.arms[arm].test]
    record = BundleRecord(
        id="",
        arm=arm,
        checkpoint=found.checkpoint,
        prompt_name=found.prompt,
        task=verdict.task,
        kind=found.answer,
        model=served.model if served else verdict.model,
        model_hash=verdict.provenance.model_hash,
        model_settings=dataclasses.asdict(config.model),
        prompt=dataclasses.asdict(prompt),
        prompt_hash=prompt_hash(config, found.prompt),
        seed=config.seed,
        quality=metrics[verdict.metric],
        metric=verdict.metric,
        metrics=metrics | {"n_test": float(len(scores)), "mean_score": sum(scores) / len(scores)},
        commit=verdict.provenance.commit,
        labels=study.pool,
        served=dataclasses.asdict(served) if served else None,
        files={
            file.relative_to(folder).as_posix(): sha256_file(file)
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        },
    )
    return dataclasses.replace(record, id=sha256_plain(to_plain(record))[:12])


def load_bundle(folder: Path) -> Bundle:
    """Read a bundle and check every file of it. Raises RecordError for one that is not whole."""
    record = read_json(folder / "bundle.json", BundleRecord)
    for name, expected in record.files.items():
        file = folder / name
        if not file.is_file() or sha256_file(file) != expected:
            state = "is not what was put there" if file.is_file() else "is missing"
            raise RecordError(f"{file} {state}: the bundle {record.id} cannot answer; roll back, or promote another")
    prompt = dict(record.prompt)
    if prompt["strategy"].get("folder"):
        prompt["strategy"] = prompt["strategy"] | {"folder": str(folder / "knowledge")}
    return Bundle(
        folder,
        record,
        read_json(folder / "task.json", Task),
        read_jsonl(folder / "train.jsonl", Example),
        TypeAdapter(PromptConfig).validate_python(prompt),
        TypeAdapter(ModelConfig).validate_python(record.model_settings),
        TypeAdapter(ServedConfig | None).validate_python(record.served),
    )
