"""The draw stage: the order in which each seed adds labelled examples. Writes into artifacts/curve/order/:

<seed>.jsonl   the training split in that order; a file a seed, so that a further one makes no other seed's points anew
pool.json      {"examples": how many there are to draw from}, also where there is no learning curve: `compare` depends
               on artifacts/curve, which has to be there
"""

from collections.abc import Sequence
from pathlib import Path

from whether.curve.order import label_order
from whether.records import Example, Task, read_json, read_jsonl, write_json, write_jsonl


def curve_data(seeds: Sequence[int], *, artifacts: Path, folder: Path) -> None:
    """Write the training split of artifacts/prepare in the order of each seed into `folder`."""
    task = read_json(artifacts / "prepare" / "task.json", Task)
    examples = read_jsonl(artifacts / "prepare" / "train.jsonl", Example)
    write_json(folder / "pool.json", {"examples": len(examples)})
    for seed in seeds:
        write_jsonl(folder / f"{seed}.jsonl", label_order(task, examples, seed))
