"""The stage `curve_baseline`: baselines at the points of the learning curve, fitted on the same labels.

Writes into artifacts/curve/baseline/ for each baseline of the curve `<name>/<labels>-<seed>.jsonl`, a
`whether.records.Generations` a line; no file where a point was not measured or holds a single label. baselines.json
lists the baselines.
"""

import logging
from collections.abc import Mapping
from pathlib import Path

from whether.baseline.baseline import ANSWERED, answer_rows, labelled, make_model
from whether.baseline.data import BaselineData
from whether.config import BaselineConfig
from whether.errors import DataError
from whether.records import (
    BaselineRow,
    BaselineTask,
    CurvePoint,
    Generations,
    Request,
    TrainingExample,
    read_json,
    read_jsonl,
    write_json,
    write_jsonl,
)

logger = logging.getLogger(__name__)


def run_curve(baselines: Mapping[str, BaselineConfig | None], *, data: Path, points: Path, folder: Path) -> None:
    """Fit and ask each baseline at each point.

    `data` is artifacts/baseline/data, and `points` artifacts/curve/data. Raises ConfigError for a model that cannot be
    built.
    """
    task = read_json(data / "task.json", BaselineTask)
    rows = {row.id: row for split in ("train", *ANSWERED) for row in read_jsonl(data / f"{split}.jsonl", BaselineRow)}
    selected = {name: one for name, one in baselines.items() if one and one.goes_with(task.output)}
    write_json(folder / "baselines.json", list(selected))
    for name, settings in selected.items():
        for point in sorted(points.glob("*-*")):
            try:
                answers = _answer_point(name, settings, point, rows, task)
            except DataError as error:
                logger.warning("%s with the labels of point %s: %s", name, point.name, error)
                continue
            if answers:
                write_jsonl(folder / name / f"{point.name}.jsonl", [one.as_line() for one in answers])


def _answer_point(
    name: str, settings: BaselineConfig, point: Path, rows: Mapping[str, BaselineRow], task: BaselineTask
) -> list[Generations]:
    """Return a baseline's answers to what a point asks, fitted on its labels; nothing where it has none."""
    made = read_json(point / "point.json", CurvePoint)
    if made.tuned is None:
        return []
    train, dev = (
        # An epoch of tuning may show an example several times.
        [rows[key] for key in dict.fromkeys(row.id for row in read_jsonl(file, TrainingExample))]
        for file in (point / "training_set" / "train.jsonl", point / "training_set" / "dev.jsonl")
    )
    model = make_model(settings.model, f"baselines.{name}.model")
    model.fit(BaselineData(labelled(train), labelled(dev), made.seed, task.balanced))
    asked = read_jsonl(point / "requests" / f"{made.tuned}.jsonl", Request)
    return [
        answer
        for split in ANSWERED
        for answer in answer_rows(model, [rows[one.id] for one in asked if one.split == split], split)
    ]
