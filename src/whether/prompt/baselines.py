"""The stage `baseline_data`: the rows that baselines are fitted on and asked, as texts: artifacts/baseline/data.

task.json                           `whether.records.BaselineTask`
train.jsonl, dev.jsonl, test.jsonl  `whether.records.BaselineRow`, a line each
"""

from pathlib import Path

from whether.chat.messages import render_input
from whether.errors import DataError
from whether.records import (
    BaselineRow,
    BaselineTask,
    Example,
    Task,
    are_imbalanced,
    read_json,
    read_jsonl,
    write_json,
    write_jsonl,
)

SPLITS = ("train", "dev", "test")


def write_baseline_rows(prepared: Path, folder: Path) -> None:
    """Write the files named above from artifacts/prepare. Raises DataError for an empty split."""
    task = read_json(prepared / "task.json", Task)
    rows = {split: read_jsonl(prepared / f"{split}.jsonl", Example) for split in SPLITS}
    for split, examples in rows.items():
        if not examples:
            raise DataError(f"{prepared / f'{split}.jsonl'} has no examples: give the {split} split a larger share")
        write_jsonl(
            folder / f"{split}.jsonl", [BaselineRow(one.id, render_input(task, one), one.target) for one in examples]
        )
    balanced = bool(task.labels) and are_imbalanced([example.target for example in rows["train"]])
    write_json(folder / "task.json", BaselineTask(task.name, task.output, balanced))
