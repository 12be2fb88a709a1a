"""Time and memory of label scoring against the number of requests, up to 100,000, as a table and a picture.

    make run                                                   # once: data and model
    python benchmarks/growth.py --picture docs/engine_growth.png

Queries are utterances of the default task, each with a number of its own, so that no two are alike; each has the
task's seven labels as choices. Every size runs in a process of its own, so that its peak memory is its own.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from workloads import ARTIFACTS, EXAMPLES

from whether import entry

SIZES = (1_000, 3_000, 10_000, 30_000, 100_000)
DTYPE = "bfloat16"


def main() -> None:
    """Measure every size and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", type=Path, help="where to draw it, as PNG or SVG")
    parser.add_argument("--largest", type=int, default=SIZES[-1], help="leave out sizes above this")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    entry.prepare_process()
    if options.one:
        print(json.dumps(measure(options.one)))
        return
    print("| requests | distinct prefixes | seconds | tokens/s | peak memory, MiB | of it for the requests, MiB |")
    print("|---:|---:|---:|---:|---:|---:|")
    points = []
    for size in (size for size in SIZES if size <= options.largest):
        command = [sys.executable, __file__, "--one", str(size)]
        point = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        points.append(point)
        print(
            f"| {point['requests']:,} | {point['tokens']:,} | {point['seconds']:.1f}"
            f" | {point['tokens'] / point['seconds']:,.0f} | {point['peak'] / 2**20:,.0f}"
            f" | {point['inputs'] / 2**20:,.0f} |",
            flush=True,
        )
    if options.picture:
        draw(points, options.picture)


def measure(requests: int) -> dict[str, Any]:
    """Score so many requests and return what that took."""
    import psutil

    from whether.config import ModelConfig
    from whether.engine.local import LocalModel
    from whether.engine.prefix_tree import PrefixTree
    from whether.engine.requests import ScoringRequest
    from whether.model.memory import peak_memory
    from whether.records import Example, Task, read_json, read_jsonl

    config = ModelConfig(name="benchmark", source={"_target_": "none"}, licence="", dtype=DTYPE)
    local = LocalModel.load(ARTIFACTS / "model", None, config)
    task = read_json(ARTIFACTS / "prepare/task.json", Task)
    rows = read_jsonl(ARTIFACTS / "prepare/train.jsonl", Example)

    def encode(text: str) -> list[int]:
        return list(local.tokenizer(text, add_special_tokens=False)["input_ids"])

    shots = "".join(f"Utterance: {_text(row)}\nIntent: {row.target}\n\n" for row in rows[:EXAMPLES])
    head = encode(f"{task.instruction}\n\n{shots}")
    labels = [tuple(encode(f" {label}")) for label in task.labels or ()]
    local.loglikelihoods([ScoringRequest(tuple(head), label) for label in labels])
    before = psutil.Process().memory_info().rss
    asked = []
    for number in range(-(-requests // len(labels))):
        query = f"Utterance: {_text(rows[number % len(rows)])} ({number})\nIntent:"
        context = (*head, *encode(query))
        asked += [ScoringRequest(context, label) for label in labels]
    asked = asked[:requests]
    inputs = psutil.Process().memory_info().rss - before
    start = time.perf_counter()
    local.loglikelihoods(asked)
    seconds = time.perf_counter() - start
    peak = peak_memory()
    tree = PrefixTree([(*request.context, *request.continuation[:-1]) for request in asked])
    tokens = sum(len(sequence) - shared for sequence, shared in zip(tree.sequences, tree.shared, strict=True))
    return {"requests": requests, "tokens": tokens, "seconds": seconds, "peak": peak, "inputs": inputs}


def _text(row: Any) -> str:
    return str(row.inputs["utterance"])


def draw(points: list[dict[str, Any]], path: Path) -> None:
    """Draw seconds and memory against requests, with the line of equal cost a request."""
    import matplotlib.pyplot as plt

    requests = [point["requests"] for point in points]
    figure, (time_axis, memory_axis) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    each = points[-1]["seconds"] / points[-1]["requests"]
    time_axis.plot(requests, [each * count for count in requests], color="0.7", label="the same cost for each request")
    time_axis.plot(requests, [point["seconds"] for point in points], "o", label="measured")
    time_axis.set(xscale="log", yscale="log", xlabel="requests", ylabel="seconds", title="Time")
    time_axis.legend(frameon=False)
    memory_axis.plot(requests, [point["peak"] / 2**20 for point in points], "o-", label="peak of the process")
    less = [(point["peak"] - point["inputs"]) / 2**20 for point in points]
    memory_axis.plot(requests, less, "o-", label="without the requests themselves")
    memory_axis.set(xscale="log", xlabel="requests", ylabel="MiB", title="Memory", ylim=(0, None))
    memory_axis.legend(frameon=False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
