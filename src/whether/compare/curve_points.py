"""The points of the learning curve as arrays: answers of tuning and of the best prompt, by labels, seed and example."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, NamedTuple, cast

import numpy as np

from whether.compare.measure import plain_arm, totals_table
from whether.compare.results import Arm, Results
from whether.config import CurveConfig
from whether.errors import RecordError
from whether.metrics.metric import Metric
from whether.outputs.decoding import DecodingStrategy, build_decoding, greedy, parse_generations
from whether.outputs.kinds import output_of
from whether.outputs.output import score_answer
from whether.records import (
    CurveAnswer,
    CurveArm,
    CurvePoint,
    Example,
    Generations,
    Prediction,
    Split,
    Task,
    read_json,
    read_jsonl,
)
from whether.stats.intervals import Codes, Floats

CurveApproach = Literal["tuned", "prompting"]
Rows = Mapping[str, CurveAnswer | Prediction]
"""Example id → answer."""


class CurveAnswers(NamedTuple):
    """An arm's answers to dev and test."""

    dev: Rows
    test: Rows


@dataclass(frozen=True)
class PointPredictions:
    """What a point's folder holds."""

    reason: str
    """Why nothing was measured, or nothing."""
    arms: dict[str, CurveAnswers]
    """The tuned arm first."""
    baselines: dict[str, CurveAnswers] = field(default_factory=dict)

    @property
    def tuned(self) -> CurveAnswers:
        """Answers of the tuned checkpoint."""
        return next(iter(self.arms.values()))

    @property
    def prompts(self) -> dict[str, CurveAnswers]:
        """Answers of base, by arm, in the order of the settings."""
        return dict(list(self.arms.items())[1:])

    @property
    def dev(self) -> list[str]:
        """Ids of the examples of dev that the point answered, in order."""
        return sorted(self.tuned.dev)

    @property
    def test(self) -> list[str]:
        """Ids of the examples of test that the point answered, in order."""
        return sorted(self.tuned.test)


@dataclass(frozen=True)
class CurveData:
    """What was measured: totals of answers have shape (levels, seeds, examples, k)."""

    labels: list[int]
    """Numbers of labels at which every seed has a point, rising."""
    tuned: Any
    prompting: Any
    """Of the arm of base that dev chose for each level and seed."""
    reference: Any
    """Of base with the plain prompt, shape (examples, k); None where no such arm was run."""
    examples: int
    """Of test."""
    groups: Any
    """Of each example the number of its group, from 0, shape (examples,); its own where there are none."""
    chosen: list[dict[str, int]]
    """For each level, arm of base → seeds for which dev chose it."""
    dev_labels: int
    not_measured: dict[str, str]
    metric: Metric
    baselines: dict[str, Any] = field(default_factory=dict)
    """Of each baseline that has an answer to every example at every level and seed."""

    @property
    def ways(self) -> dict[str, Any]:
        """The totals of both ways, and of baselines."""
        return {"tuned": self.tuned, "prompting": self.prompting, **self.baselines}


Points = Mapping[tuple[int, int], PointPredictions]
"""By labels and seed."""


def load_points(curve: CurveConfig, artifacts: Path) -> Points:
    """Read the points that are there, by labels and seed; one whose folder is missing was not measured."""
    task = read_json(artifacts / "prepare" / "task.json", Task)
    files = (artifacts / "prepare" / f"{split}.jsonl" for split in ("dev", "test"))
    examples = {one.id: one for file in files for one in read_jsonl(file, Example)}
    points = {}
    for labels in sorted(curve.labels):
        for seed in curve.seeds:
            point, folder = f"{labels}-{seed}", artifacts / "curve" / "generate" / f"{labels}-{seed}"
            if folder.exists():
                record = read_json(artifacts / "curve" / "data" / point / "point.json", CurvePoint)
                answers = [
                    answer
                    for arm in read_json(folder / "arms.json", list[CurveArm])
                    for answer in _answers_of(arm, curve, folder, task, examples)
                ]
                found = _point(record, answers, folder)
                baselines = _baselines_of(point, artifacts / "curve" / "baseline", task, examples)
                points[labels, seed] = replace(found, baselines=baselines if found.arms else {})
    return points


def _baselines_of(point: str, folder: Path, task: Task, examples: Mapping[str, Example]) -> dict[str, CurveAnswers]:
    """Return what each baseline answered at a point, where it could be fitted; none in records of before 0.4."""
    listed = folder / "baselines.json"
    names = read_json(listed, list[str]) if listed.exists() else []
    found = {}
    for name in names:
        if (folder / name / f"{point}.jsonl").exists():
            rows = _read_answers(folder / name / f"{point}.jsonl", name, task, greedy(task, 0), examples)
            by_split = ({row.id: row for row in rows if row.split == split} for split in CurveAnswers._fields)
            found[name] = CurveAnswers(*by_split)
    return found


def means(points: Points) -> dict[str, dict[str, dict[str, float]]]:
    """Return `<labels>-<seed>` → dev or test → arm → its mean score; {} where nothing was measured."""
    return {
        f"{labels}-{seed}": {
            split: {
                arm: fmean(row.score for row in getattr(answers, split).values()) for arm, answers in point.arms.items()
            }
            for split in (CurveAnswers._fields if point.arms else ())
        }
        for (labels, seed), point in points.items()
    }


def _answers_of(
    arm: CurveArm, curve: CurveConfig, folder: Path, task: Task, examples: Mapping[str, Example]
) -> list[CurveAnswer]:
    """Read what an arm of a point answered. The tuned checkpoint is asked plainly, and read by the task's own rule."""
    settings = None if arm.tuned else curve.prompts[arm.prompt]
    decoding = build_decoding(arm.prompt, settings, task, 0) if settings else greedy(task, 0)
    return _read_answers(folder / f"{arm.name}.jsonl", arm.name, task, decoding, examples)


def _read_answers(
    file: Path, name: str, task: Task, decoding: DecodingStrategy, examples: Mapping[str, Example]
) -> list[CurveAnswer]:
    found = []
    for one, reply in parse_generations(task, decoding, read_jsonl(file, Generations)):
        if one.id not in examples:
            raise _other_examples(one.split)
        target = examples[one.id].target
        score = score_answer(output_of(task), reply.answer, target)
        found.append(CurveAnswer(name, one.id, cast("Split", one.split), reply.answer, target, score))
    return found


def _point(point: CurvePoint, answers: Sequence[CurveAnswer], folder: Path) -> PointPredictions:
    rows: dict[str, dict[str, dict[str, CurveAnswer]]] = {"dev": {}, "test": {}}
    for answer in answers:
        rows[answer.split].setdefault(answer.arm, {})[answer.id] = answer
    arms = [point.tuned, *point.prompts] if point.tuned else []
    for split, found in rows.items():
        if found.keys() != set(arms) or len({frozenset(answers) for answers in found.values()}) > 1:
            raise RecordError(
                f"{folder}: each of the arms {', '.join(arms) or '(none)'} must answer the same examples of {split}:"
                " run `dvc repro` to make the point again"
            )
    return PointPredictions(
        point.not_measured.get("all", ""), {arm: CurveAnswers(rows["dev"][arm], rows["test"][arm]) for arm in arms}
    )


def to_arrays(curve: CurveConfig, points: Points, study: Results, metric: Metric) -> CurveData:
    """Return what was measured as arrays, the best prompt chosen on dev.

    The plain prompt on base, which needs no labels, is one of those that dev chooses from. A tie goes to it, and then
    to the prompt that the settings name first. Raises RecordError for points that answered different examples.
    """
    plain = plain_arm(study)
    absent = _unmeasured_levels(curve, points, plain)
    levels = [labels for labels in sorted(curve.labels) if str(labels) not in absent]
    whole = [points[labels, seed] for labels in levels for seed in curve.seeds]
    some_arm = _answers(next(iter(study.arms.values())))
    devs = _common_ids([loaded.dev for loaded in whole], some_arm.dev, "dev")
    tests = _common_ids([loaded.test for loaded in whole], some_arm.test, "test")

    def totals(rows: Rows, ids: Sequence[str]) -> Floats:
        return totals_table(study.task, metric, [rows[key] for key in ids])

    tuned, prompting, names = [], [], []
    for loaded in whole:
        tuned.append(totals(loaded.tuned.test, tests))
        options = loaded.prompts | ({plain.name: _answers(plain)} if plain else {})
        on_dev = {name: metric.estimate(totals(answers.dev, devs)) for name, answers in options.items()}
        name = max(on_dev, key=lambda name: (on_dev[name], plain is not None and name == plain.name))
        names.append(name)
        prompting.append(totals(options[name].test, tests))
    seeds, shape = len(curve.seeds), (len(levels), len(curve.seeds), len(tests), -1)
    return CurveData(
        labels=levels,
        tuned=np.reshape(tuned, shape) if whole else None,
        prompting=np.reshape(prompting, shape) if whole else None,
        reference=totals(_answers(plain).test, tests) if plain and whole else None,
        examples=len(tests),
        groups=_groups(study, tests),
        chosen=[dict(Counter(names[start : start + seeds])) for start in range(0, len(names), seeds)],
        dev_labels=len(devs),
        not_measured=absent,
        metric=metric,
        baselines={
            name: np.reshape([totals(loaded.baselines[name].test, tests) for loaded in whole], shape)
            for name in (whole[0].baselines if whole else ())
            if all(name in loaded.baselines and loaded.baselines[name].test.keys() == set(tests) for loaded in whole)
        },
    )


def _groups(study: Results, ids: Sequence[str]) -> Codes:
    arm = next(iter(study.arms.values()))
    known = zip(arm.test, study.groups, strict=True)
    group = {row.id: ("example", row.id) if name is None else ("group", name) for row, name in known}
    numbers = {name: number for number, name in enumerate(dict.fromkeys(group[key] for key in ids))}
    return np.array([numbers[group[key]] for key in ids], dtype=np.int64)


def _unmeasured_levels(curve: CurveConfig, points: Points, plain: Arm | None) -> dict[str, str]:
    """Return number of labels → why it is left out: not every seed has tuned with it, or no prompt was run."""
    absent = {}
    for labels in sorted(curve.labels):
        found = [points.get((labels, seed)) for seed in curve.seeds]
        reasons = ["a point is missing" if item is None else item.reason for item in found]
        if not any(reasons) and plain is None and not all(item.prompts for item in found if item):
            reasons.append("no prompt was run")
        if any(reasons):
            absent[str(labels)] = next(filter(None, reasons))
    return absent


def _common_ids(splits: Sequence[list[str]], known: Rows, split: str) -> list[str]:
    """Return the ids of a split's examples that all points have answered; they are among those that arms answer."""
    if any(ids != splits[0] for ids in splits) or not set(chain(*splits)) <= known.keys():
        raise _other_examples(split)
    return splits[0] if splits else []


def _other_examples(split: str) -> RecordError:
    return RecordError(
        f"artifacts/curve: the points did not answer the same examples of {split}, out of"
        f" artifacts/prepare/{split}.jsonl: run `dvc repro` to make them again"
    )


def _answers(arm: Arm) -> CurveAnswers:
    return CurveAnswers({row.id: row for row in arm.dev}, {row.id: row for row in arm.test})
