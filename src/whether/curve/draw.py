"""The draw stage: the order in which each seed adds labelled examples, artifacts/curve/order/<seed>.jsonl.

A file a seed, so that a further seed, or another list of `curve.labels`, makes no point anew that is there already. The
stage runs also without a learning curve, when it writes an empty folder: `compare` depends on artifacts/curve.
"""

from collections.abc import Sequence
from pathlib import Path

from whether.curve.order import draw_order
from whether.records import Example, Task, read_json, read_jsonl, write_jsonl


def draw(seeds: Sequence[int], *, artifacts: Path, folder: Path) -> None:
    """Write the training split of artifacts/prepare in the order of each seed into `folder`."""
    task = read_json(artifacts / "prepare" / "task.json", Task)
    examples = read_jsonl(artifacts / "prepare" / "train.jsonl", Example)
    for seed in seeds:
        write_jsonl(folder / f"{seed}.jsonl", draw_order(task, examples, seed))
