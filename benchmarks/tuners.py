"""Every tuner with its default settings on the prepared task: what it reaches and what it takes, as a table.

python benchmarks/tuners.py [--checkpoint lora --checkpoint full] [--override tuner.epochs=2]

Needs artifacts/model and artifacts/prepare (`dvc repro prepare`). Each tuner is trained by the stages training_set and
finetune and answers the test split with the plain prompt, in processes of their own. What is done is kept in
.state/tuners/ and not done again under the same settings: an interrupted run resumes. qlora is left out without CUDA
and bitsandbytes.
"""

import argparse
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from whether.config import BASE, CONF, compose
from whether.records import read_json, write_text

ROOT = Path.cwd()
WORK = Path(".state/tuners")
PROMPT = "zero_shot"


class Result(NamedTuple):
    """What a tuner reached and took."""

    name: str
    record: dict[str, Any]
    """checkpoint.json"""
    training: dict[str, Any]
    """metrics.json of the finetune stage."""
    test: dict[str, Any]
    """Metrics of the test split."""


def main() -> None:
    """Train, answer, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", action="append", help="only this one; default: all of conf/checkpoint")
    parser.add_argument("--override", action="append", default=[], help="a setting, such as tuner.epochs=2")
    options = parser.parse_args()
    results = []
    for name in options.checkpoint or names():
        results.append(measure(name, options.override))
        print(table(results[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
    print(table(sorted(results, key=lambda result: -result.test["accuracy"])))


def names() -> list[str]:
    """Return the checkpoints of conf/checkpoint that can be trained here."""
    import torch

    files = {file.stem for file in (CONF / "checkpoint").glob("*.yaml")}
    can_quantise = torch.cuda.is_available() and find_spec("bitsandbytes") is not None
    return sorted(files if can_quantise else files - {"qlora"})


def measure(name: str, overrides: list[str]) -> Result:
    """Run both stages for a checkpoint, unless that was done."""
    chosen = ",".join(dict.fromkeys([BASE, name]))
    params = compose([f"checkpoint=[{chosen}]", f"prompt=[{PROMPT}]", "curve=none", "robustness=none", *overrides])
    folder = WORK / name
    trained, arm = folder / "artifacts/finetune" / name, folder / "artifacts/score" / f"{name}-{PROMPT}"
    if not (folder / "params.yaml").exists() or (folder / "params.yaml").read_text(encoding="utf-8") != params:
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "artifacts").mkdir(parents=True)
        for part in ("model", "prepare"):
            (folder / "artifacts" / part).symlink_to(ROOT / "artifacts" / part)
        write_text(folder / "params.yaml", params)
    if not trained.exists():
        stage(folder, "training_set")
        stage(folder, "finetune", BASE)
        stage(folder, "finetune", name)
    if not arm.exists():
        stage(folder, "prompt")
        for checkpoint in dict.fromkeys([BASE, name]):  # what is scored is every arm of the settings
            stage(folder, "generate", checkpoint, PROMPT)
        stage(folder, "score")
    metrics = read_json(arm / "metrics.json")
    return Result(
        name,
        read_json(trained / "checkpoint" / "checkpoint.json"),
        read_json(trained / "metrics.json"),
        metrics["test"],
    )


def stage(folder: Path, *arguments: str) -> None:
    """Run a stage of the pipeline in a folder."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    command = [sys.executable, "-m", f"pipelines.{arguments[0]}", *arguments[1:]]
    subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": path}, check=True)


def table(results: list[Result]) -> str:
    """Return results as Markdown."""
    lines = [
        "| checkpoint | test accuracy | valid answers | trained parameters | training, s | steps | best step"
        " | peak memory, MiB | stored, MiB | learning rate |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, record, training, test in results:
        tuner = record["tuner"] or {}
        cells = [
            name, f"{test['accuracy']:.1%}", f"{test['valid_rate']:.1%}", f"{record['trainable_parameters']:,}",
            f"{training['train_seconds_with_evaluation']:.0f}", text(record["steps"]), text(record["best_step"]),
            text(mebibytes(training["peak_memory"]), ",.0f"), text(mebibytes(record["disk"]), ",.2f"),
            text(tuner.get("learning_rate"), "g"),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def mebibytes(size: int | None) -> float | None:
    """Return bytes in MiB."""
    return None if size is None else size / 2**20


def text(value: float | None, form: str = "") -> str:
    """Return a number, or nothing where nothing was measured."""
    return "" if value is None else format(value, form)


if __name__ == "__main__":
    main()
