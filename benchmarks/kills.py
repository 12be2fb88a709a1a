"""Fine-tuning killed at random moments (kill -9), again and again: does the next run end as if nothing had happened?

    python benchmarks/kills.py                                # 20 kills of a tiny random model, about five minutes
    python benchmarks/kills.py --model real --rows 32         # the default model on a part of the default task
    python benchmarks/kills.py --json                         # one JSON object: kills, same
    python benchmarks/kills.py --all                          # 100 kills of everything else: benchmarks/all_kills.py
    python benchmarks/kills.py --all --quick                  # 8 of them; --json: kills, lost, doubled, different

Each kill is a case of its own: the stage is started afresh, killed at a moment between its first sign of life and its
usual end, and run again to the end. A case counts if the adapter's weights have the bytes, and the metrics and the
history the values, of a run that nobody disturbed; what a clock or the memory meter says is left out.
"""

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from whether import entry
from whether.config import Config, ModelConfig, TunerConfig, load
from whether.prompt.training import write_training_set
from whether.records import STATE, Task, output_folder, read_json, read_jsonl, write_json, write_jsonl

ROOT = Path(__file__).parents[1]
MEASURED = {
    "seconds", "train_seconds", "train_seconds_with_evaluation", "tokens_per_second", "examples_per_second",
    "peak_memory", "peak_device_memory",
}  # fmt: skip
"""Keys whose values differ from run to run."""


class Kill(NamedTuple):
    """One case."""

    after: float
    """Seconds from the first sign of training to the kill."""
    step: int
    """The last step that was saved before the kill; 0: none."""
    torn: bool
    """Whether a checkpoint was half-written."""
    same: bool
    """Whether the next run ended with the undisturbed one's bytes and metrics."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, help="20 by default, with --all 100")
    parser.add_argument("--all", action="store_true", help="kill the run, publishing, retraining and intake")
    parser.add_argument("--quick", action="store_true", help="with --all: 8 kills")
    parser.add_argument(
        "--keep", type=Path, default=Path(".state/kills"), help="with --all: where cases that fail are kept"
    )
    parser.add_argument("--only", nargs="+", default=[""], help="with --all: the kinds whose names begin so")
    parser.add_argument("--model", choices=("tiny", "real"), default="tiny", help="real: artifacts/model")
    parser.add_argument("--rows", type=int, default=32, help="training rows of the real task to use")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    options = parser.parse_args()
    entry.prepare_process()
    if options.all:
        return kill_all(options.kills or (8 if options.quick else 100), options)
    with tempfile.TemporaryDirectory() as name:
        case = Case(*(tiny if options.model == "tiny" else real)(Path(name), options.rows))
        os.chdir(name)
        cases = list(killed_at(case, options.kills or 20, random.Random(options.seed), quiet=options.json))
    good = sum(kill.same for kill in cases)
    if options.json:
        print(json.dumps({"kills": len(cases), "same": good}))
    else:
        print(f"{good} of {len(cases)} resumed runs ended with the bytes and the metrics of the uninterrupted run")
    return 0 if good == len(cases) else 1


def kill_all(kills: int, options: argparse.Namespace) -> int:
    """Run the campaign of benchmarks/all_kills.py and print what came of it."""
    from all_kills import campaign

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        tell = (lambda _: None) if options.json else partial(print, flush=True)
        found = campaign(kills, options.seed, Path(name), options.only, tell=tell, keep=options.keep)
    counts = {
        "kills": len(found),
        "lost": sum(one.lost for one in found),
        "doubled": sum(one.doubled for one in found),
        "different": sum(bool(one.problems) for one in found),
    }
    print(json.dumps(counts) if options.json else counts)
    return int(any(counts[key] for key in ("lost", "doubled", "different")))


class Case(NamedTuple):
    """What is trained."""

    artifacts: Path
    tuner: TunerConfig
    model: ModelConfig
    seed: int


def tiny(folder: Path, rows: int) -> tuple[Path, TunerConfig, ModelConfig, int]:  # noqa: ARG001
    """Lay out the tests' tiny random model and thirty examples; eight epochs, sixteen checkpoints."""
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "finetune")]
    from conftest import make_tiny_model
    from tiny_tuner import tuner

    artifacts = folder / "artifacts"
    make_tiny_model(artifacts / "model")
    words = {"billing": "invoice refund payment", "tech": "crash login error", "other": "hello thanks address"}
    examples = [
        {"id": f"{label}-{n}", "inputs": {"text": f"{words[label].split()[n % 3]} number {n}"}, "target": label}
        for n in range(10)
        for label in words
    ]
    task = Task(
        name="tickets", output="label", metric="accuracy", labels=list(words), schema=None, answer_pattern=None,
        instruction=f"Which queue? One of: {', '.join(words)}.", input_template="", max_new_tokens=6,
    )  # fmt: skip
    write_json(artifacts / "prepare" / "task.json", task)
    write_jsonl(artifacts / "prepare" / "train.jsonl", examples[:22])
    write_jsonl(artifacts / "prepare" / "dev.jsonl", examples[22:])
    settings, training_set = tuner(epochs=8), artifacts / "training_set" / "lora"
    write_training_set("lora", settings, 0, prepared=artifacts / "prepare", folder=training_set)
    source = {"_target_": "whether.sources.models.folder", "path": "unused"}
    model = ModelConfig(name="tiny", source=source, licence="none", dtype="float32", device="cpu", threads=1)
    return artifacts, settings, model, 0


def real(folder: Path, rows: int) -> tuple[Path, TunerConfig, ModelConfig, int]:
    """Take artifacts/model and the first rows of artifacts/prepare, under the settings of params.yaml."""
    config: Config = load(ROOT / "params.yaml")
    artifacts, prepared = folder / "artifacts", ROOT / "artifacts" / "prepare"
    (artifacts / "prepare").mkdir(parents=True)
    (artifacts / "model").symlink_to(ROOT / "artifacts" / "model")
    shutil.copy(prepared / "task.json", artifacts / "prepare")
    for split, count in (("train", rows), ("dev", max(8, rows // 4))):
        write_jsonl(artifacts / "prepare" / f"{split}.jsonl", read_jsonl(prepared / f"{split}.jsonl")[:count])
    tuner = config.checkpoints["lora"].tuner
    assert tuner is not None
    training_set = artifacts / "training_set" / "lora"
    write_training_set("lora", tuner, config.seed, prepared=artifacts / "prepare", folder=training_set)
    return artifacts, replace(tuner, epochs=2, evaluations_per_epoch=2, batch_size=8), config.model, config.seed


def stage(case: Case, out: Path) -> None:
    """Run the stage as its command does, without the bar."""
    from whether.finetune.finetune import finetune

    entry.prepare_process()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    with output_folder(out) as folder:
        finetune(
            "lora", case.tuner, case.model, case.seed, model_folder=case.artifacts / "model",
            training_set=case.artifacts / "training_set" / "lora", folder=folder,
        )  # fmt: skip


def killed_at(case: Case, kills: int, moments: random.Random, quiet: bool) -> Iterator[Kill]:
    """Yield each kill, after a run that is left alone."""
    context: Any = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["whether.finetune.trainer", "peft", "matplotlib.figure"])

    def started(out: str) -> Any:
        process = context.Process(target=stage, args=(case, Path(out)))
        process.start()
        return process

    undisturbed = started("undisturbed")
    wait_for_training(undisturbed)
    start = time.perf_counter()
    undisturbed.join()
    usual = time.perf_counter() - start
    expected = outcome(Path("undisturbed"))
    done = 0
    while done < kills:
        shutil.rmtree("killed", ignore_errors=True)
        shutil.rmtree(STATE, ignore_errors=True)
        process, after = started("killed"), moments.uniform(0, usual)
        wait_for_training(process)
        process.join(after)
        process.kill()
        process.join()
        if process.exitcode != -signal.SIGKILL:
            usual = min(usual, after)  # It had ended: the machine has less to do than before, and this is no case.
            continue
        seals = {path.name: (path / "sealed").exists() for path in STATE.glob("finetune/lora-*/checkpoint-*")}
        step = max((int(name.rpartition("-")[2]) for name, sealed in seals.items() if sealed), default=0)
        started("killed").join()
        same = Path("killed").exists() and outcome(Path("killed")) == expected
        kill, done = Kill(after, step, not all(seals.values()), same), done + 1
        if not quiet:
            print(described(done, kill), flush=True)
        yield kill


def wait_for_training(process: Any) -> None:
    """Return when the stage has begun to train, or has ended."""
    while process.is_alive() and not list(STATE.glob("finetune/lora-*")):
        time.sleep(0.005)


def outcome(folder: Path) -> list[Any]:
    """Return what must be the same: the adapter's bytes, the record, the metrics and the history."""
    lines = [read_json(folder / "metrics.json"), *read_jsonl(folder / "history.jsonl")]
    kept = [{key: value for key, value in line.items() if key not in MEASURED} for line in lines]
    files = ("adapter/adapter_model.safetensors", "adapter/adapter_config.json", "checkpoint.json")
    return [kept, *((folder / "checkpoint" / file).read_bytes() for file in files)]


def described(number: int, kill: Kill) -> str:
    """Return a case in a line."""
    torn = ", a checkpoint half-written" if kill.torn else ""
    saved = f"step {kill.step} saved" if kill.step else "nothing saved"
    result = "the same result" if kill.same else "ANOTHER RESULT"
    return f"{number:3d}  killed after {kill.after:5.2f} s, {saved}{torn}: {result}"


if __name__ == "__main__":
    sys.exit(main())
