"""How long does `prepare` take, and how much memory, for 10,000, 100,000 and 1,000,000 rows?

    make run                                   # once: the model, whose tokenizer counts the tokens
    python benchmarks/prepare.py
    python benchmarks/prepare.py --json        # seconds_1e4, seconds_1e5, seconds_1e6, peak_mib and more, for a program

Rows are sentences of about 100 characters in ten labels; one in ten has a near-duplicate, with a word changed, one in a
hundred an equal row, and one in a hundred follows a template. Each size is `python -m pipelines.prepare` in a
repository of its own, so that its time is a person's and its peak memory its own. `found` is the share of the planted
near-duplicates, similar enough for the setting, that are in one group.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[1]
SIZES = {"1e4": 10_000, "1e5": 100_000, "1e6": 1_000_000}
LABELS = [f"label {letter}" for letter in "abcdefghij"]
NEAR_DUPLICATE = 0.9
TASK = {
    "name": "generated", "source": {"path": "rows.jsonl"}, "inputs": {"text": "text"}, "target": "label",
    "output": "label", "instruction": "Which of {labels}?", "max_new_tokens": 16, "near_duplicate": NEAR_DUPLICATE,
}  # fmt: skip


class Row(NamedTuple):
    """A generated row, and the one that it was made from."""

    text: str
    label: str
    of: int | None = None


class Took(NamedTuple):
    """What a command took."""

    seconds: float
    cpu: float
    """Seconds of processors, which other work on the machine lengthens less."""
    peak: int
    """Bytes of memory."""


def main() -> None:
    """Measure every size and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--smallest", type=float, default=0, help="leave out sizes below this")
    parser.add_argument("--largest", type=float, default=max(SIZES.values()), help="leave out sizes above this")
    parser.add_argument("--model", type=Path, default=ROOT / "artifacts" / "model", help="folder with a tokenizer")
    options = parser.parse_args()
    found: dict[str, Any] = {}
    if not options.json:
        print("| rows | seconds | of processors | peak memory, MiB | planted near-duplicates found |")
        print("|---:|---:|---:|---:|---:|")
    for name, size in SIZES.items():
        if not options.smallest <= size <= options.largest:
            continue
        measured = measure(size, options.model.resolve())
        found |= {f"{key}_{name}": value for key, value in measured.items()}
        if not options.json:
            print(
                f"| {size:,} | {measured['seconds']:.1f} | {measured['cpu_seconds']:.1f}"
                f" | {measured['peak_mib']:,.0f} | {measured['found']:.1%} |",
                flush=True,
            )
    if options.json:
        print(json.dumps(found | {"peak_mib": max(found[key] for key in found if key.startswith("peak_mib"))}))


def measure(size: int, model: Path) -> dict[str, float]:
    """Prepare so many rows and return what that took."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = list(generate(size))
        make_repository(folder, rows, model)
        took = timed([sys.executable, "-m", "pipelines.prepare"], folder)
        return {
            "seconds": round(took.seconds, 1), "cpu_seconds": round(took.cpu, 1), "peak_mib": round(took.peak / 2**20),
            "found": found_share(rows, folder),
        }  # fmt: skip


def generate(size: int) -> Iterator[Row]:
    """Yield rows, the same ones every time; words are as frequent as in a language (Zipf)."""
    generator = random.Random(size)
    words = ["".join(generator.choices("etaoinshrdlucmfwypvbgk", k=generator.randint(2, 9))) for _ in range(20_000)]
    weights = list(accumulate(1 / rank for rank in range(1, len(words) + 1)))
    count = 0
    while count < size:
        text = generator.choices(words, cum_weights=weights, k=generator.randint(12, 22))
        label, first, kind = generator.choice(LABELS), count, generator.random()
        if kind < 0.01:
            text = f"what is the price of article number {generator.randrange(10**6)} in shop {count}".split()
        yield Row(" ".join(text), label)
        count += 1
        if 0.01 <= kind < 0.12 and count < size:
            if kind >= 0.02:
                text[generator.randrange(len(text))] = generator.choice(words)
            yield Row(" ".join(text), label if kind < 0.07 else generator.choice(LABELS), first)
            count += 1


def make_repository(folder: Path, rows: list[Row], model: Path) -> None:
    """Make a repository with a task of these rows and its settings."""
    for name in ("conf", "knowledge", "examples"):
        shutil.copytree(ROOT / name, folder / name)
    (folder / "data").mkdir()
    (folder / "data" / "note.txt").write_text("nothing\n")
    (folder / "artifacts").mkdir()
    (folder / "artifacts" / "model").symlink_to(model)
    (folder / "rows.jsonl").write_text(
        "".join(json.dumps({"text": row.text, "label": row.label}) + "\n" for row in rows)
    )
    (folder / "conf" / "task" / "generated.yaml").write_text(yaml.safe_dump(TASK))
    for command in ("git init -qb main", "dvc init -q", "dvc add -q data"):
        subprocess.run(command.split(), cwd=folder, env=environment(), check=True)
    (folder / "dvc.yaml").write_text("stages: {}\n")
    words = [sys.executable, "-m", "pipelines.compose", "task=generated", "curve=none", "tracking=none"]
    subprocess.run(words, cwd=folder, env=environment(), check=True, stdout=subprocess.DEVNULL)


def environment() -> dict[str, str]:
    """Return the environment of a command in another repository."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "PATH": path, "HF_HUB_OFFLINE": "1"}


def timed(words: list[str], folder: Path) -> Took:
    """Run a command."""
    begin = time.perf_counter()
    process = subprocess.Popen(words, cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(said)
    return Took(time.perf_counter() - begin, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def found_share(rows: list[Row], folder: Path) -> float:
    """Return which share of the planted near-duplicates are in one group with what they were made from."""
    from rapidfuzz import fuzz

    groups = {}
    for split in ("train", "dev", "test"):
        with (folder / "artifacts" / "prepare" / f"{split}.jsonl").open() as lines:
            for line in lines:
                row = json.loads(line)
                groups[row["inputs"]["text"]] = row.get("group")
    planted = [
        (row.text, rows[row.of].text)
        for row in rows
        if row.of is not None
        and fuzz.token_sort_ratio(row.text, rows[row.of].text) >= 100 * NEAR_DUPLICATE
        and row.text != rows[row.of].text
    ]
    right = sum(groups[a] is not None and groups[a] == groups[b] for a, b in planted)
    return round(right / len(planted), 4)


if __name__ == "__main__":
    main()
