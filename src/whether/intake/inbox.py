"""Files in the inbox become collected rows, each once; what cannot be used is set aside with the reason.

A retraining run may be killed anywhere. Rows are known by the hash of their inputs, the file of collected rows is
replaced as a whole, and a file leaves the inbox only after its rows are there: read again, all of them are known.
"""

import hashlib
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from whether.config import Config, TaskConfig
from whether.errors import DataError, MissingPackageError, RecordError
from whether.outputs.kinds import output_of
from whether.prepare.collected import collected_file, read_collected
from whether.prepare.duplicates import normalised
from whether.prepare.labels import LabelSpelling, one_spelling, respelled
from whether.prepare.lengths import answer_length_check
from whether.prepare.rows import SourceRow, example_id, example_reader, has_target, read_examples, read_inputs
from whether.records import (
    ARTIFACTS,
    CollectedRow,
    Destination,
    Example,
    IntakeCounts,
    Quarantined,
    sha256_file,
    to_builtins,
    write_jsonl,
)
from whether.records.values import storable
from whether.sources.tables import Line, is_named_as_rows, read_lines

logger = logging.getLogger(__name__)


@dataclass
class IntakePlan:
    """What a retraining run takes in, before anything is written."""

    rows: list[CollectedRow]
    """All rows that are known then, in the order of arrival."""
    counts: IntakeCounts
    files: list[Path] = field(default_factory=list)
    """Of the inbox."""
    left: list[Path] = field(default_factory=list)
    """Of the inbox, and not taken in: their names are not those of files of rows."""
    quarantined: list[Quarantined] = field(default_factory=list)
    changed: bool = False
    """Whether `rows` differs from what is on disk."""


def arrived_files(inbox: Path) -> tuple[list[Path], list[Path]]:
    """Return the files of rows that have arrived, and what else lies there, sorted by name.

    A folder that does not exist counts as empty; what begins with a dot is still on its way, or none of ours.
    """
    if not inbox.exists():
        return [], []
    if not inbox.is_dir():
        raise RecordError(f"retrain.inbox: {inbox} is a file, and a folder was expected")
    there = sorted(entry for entry in inbox.iterdir() if not entry.name.startswith("."))
    rows = [entry for entry in there if entry.is_file() and is_named_as_rows(entry)]
    return rows, [entry for entry in there if entry not in rows]


def plan_intake(config: Config, run: int, now: datetime, collected: Path | None = None) -> IntakePlan:
    """Read the inbox and decide about every row; nothing is written.

    Raises DataError for a task's own file, or a file of collected rows, that cannot be read.
    """
    task = config.task
    file = collected or collected_file(task)
    before = read_collected(file)
    source = read_examples(task).rows
    known = _KnownRows(task, respelled(source, one_spelling(task, source)), before, file)
    plan = IntakePlan(list(before), IntakeCounts(), *arrived_files(Path(config.retrain.inbox)))
    for path in plan.files:
        for line in _lines(path, task):
            try:
                known.take(line, path.name, run, _received(line.row, config.retrain.time, now))
            except ValueError as error:
                row = None if line.row is None else storable(line.row)
                plan.quarantined.append(Quarantined(path.name, line.number, str(error), row, line.text))
        known.report_unlabelled(path)
    placed, joined = _with_destinations(known, config)
    placed += known.duplicate_rows
    rows = _bounded(_sampled(placed, run, config.retrain.max_unlabelled_rows), config.retrain.max_drift_rows)
    plan.rows = rows
    plan.changed = rows != before
    plan.counts = IntakeCounts(
        files=len(plan.files),
        labelled=known.labelled,
        unlabelled=known.unlabelled,
        duplicates=known.duplicates,
        sampled_out=len(placed) - len(rows),
        quarantined=len(plan.quarantined),
        below_min_label_rows=sum(row.destination == "pending" for row in rows),
        new_labels=joined,
        unknown_labels=dict(known.unknown),
    )
    return plan


def apply_intake(plan: IntakePlan, config: Config, run: int, collected: Path | None = None) -> None:
    """Write what was decided: first the rows that are set aside, then the others; last, the files leave the inbox."""
    folder = Path(config.retrain.folder)
    for path in plan.files:
        aside = [to_builtins(row) for row in plan.quarantined if row.file == path.name]
        if aside:
            write_jsonl(folder / "quarantine" / f"{run:06d}-{path.name}.jsonl", aside)
    if plan.changed:
        write_jsonl(collected or collected_file(config.task), plan.rows)
    for path in plan.files:
        _archive(path, folder / "taken" / f"{run:06d}")


def withdraw(config: Config, runs: Sequence[int], run: int) -> int:
    """Set aside the collected rows of `runs`, such as those with wrong labels, and return how many there were.

    `run` is the number of the next retraining run.
    """
    file = collected_file(config.task)
    rows = read_collected(file)
    out = [row for row in rows if row.run in runs]
    if out:
        reason = f"withdrawn after run {run - 1}"
        aside = [Quarantined(row.file, 0, reason, row.row) for row in out]
        name = f"withdrawn-{'-'.join(map(str, sorted(runs)))}"
        write_jsonl(Path(config.retrain.folder) / "quarantine" / f"{run:06d}-{name}.jsonl", aside)
        write_jsonl(file, [row for row in rows if row.run not in runs])
    return len(out)


def _lines(path: Path, task: TaskConfig) -> Iterator[Line]:
    """Yield a file's lines; for one that needs a package that is not installed, the line that says so."""
    try:
        yield from read_lines(path, task.source)
    except MissingPackageError as error:
        yield Line(1, None, str(error), ends=True)


class _KnownRows:
    """The rows that are known, and what is done with each new one."""

    def __init__(self, task: TaskConfig, source: Sequence[SourceRow], collected: Sequence[CollectedRow], file: Path):
        self._task = task
        self._read: Callable[[dict[str, Any]], Example] = example_reader(_without_label_check(task), file)
        self._check_length = answer_length_check(ARTIFACTS / "model", task.max_new_tokens)
        self._source = {normalised(row): row.example.target for row in source}
        self.source_labels = {row.example.target for row in source}
        self.rows = [row for row in collected if row.destination != "duplicate"]
        self._spelling = LabelSpelling(task, sorted(self.source_labels))
        self.duplicate_rows = [row for row in collected if row.destination == "duplicate"]
        self._read_before = Counter((row.id, row.labelled_in_run or row.run, row.file) for row in collected)
        """Arrivals of a run from a file: they are there already when a run that was killed reads the file again."""
        try:
            self._place = {self._key(read_inputs(task, row.row)): place for place, row in enumerate(self.rows)}
            for row in self.rows:
                self._spelling.add(self.target(row))
        except ValueError as error:
            raise DataError(
                f"{file}: {error}; the row was right when it arrived: did conf/task change? `whether retrain withdraw`"
                " takes the rows of a run out"
            ) from None
        self._without_column: list[str] | None = None
        """Columns of a row of the present file in which the target's column is missing."""
        self.labelled = self.unlabelled = self.duplicates = 0
        self.unknown: Counter[str] = Counter()

    def take(self, line: Line, file: str, run: int, received: str) -> None:
        """Add a row. Raises ValueError for one that has to be set aside."""
        if line.row is None:
            raise ValueError(line.reason)
        inputs, row = read_inputs(self._task, line.row), storable(line.row)
        labelled = has_target(self._task, line.row)
        target = self._checked_target(line.row) if labelled else None
        if not labelled and self._task.target not in line.row:
            self._without_column = list(line.row)
        key = self._key(inputs)
        place = self._place.get(key)
        answer = self._source.get(key) if place is None else self.target(self.rows[place])
        if place is None and answer is None:
            self._place[key] = len(self.rows)
            destination: Destination = "pending" if labelled else "unlabelled"
            since = run if labelled else None
            self.rows.append(CollectedRow(example_id(inputs), destination, received, run, since, file, row))
        elif target is None or target == answer:
            self.duplicates += 1
            since = run if labelled else None
            self._add_duplicate(CollectedRow(example_id(inputs), "duplicate", received, run, since, file, row))
            return
        elif place is not None and answer is None:  # known without a label, and here it is
            old = self.rows[place]
            self.rows[place] = replace(old, destination="pending", labelled_in_run=run, file=file, row=row)
        else:
            raise ValueError(f"these inputs are known with the answer {answer!r:.80}, and this row says {target!r:.80}")
        if labelled:
            self.labelled += 1
        else:
            self.unlabelled += 1

    def _checked_target(self, row: dict[str, Any]) -> str:
        """Return a row's answer. Raises ValueError for one that cannot be used."""
        example = self._read(row)
        target = self._spelling.known(example.target)
        if self._task.labels is not None and target not in self._task.labels:
            self.unknown[target] += 1
            raise ValueError(
                f"label {target!r} is not among task.labels: add it to conf/task, or correct the row, and put it"
                " into the inbox again"
            )
        self._spelling.check(target)
        if (ARTIFACTS / "model").exists():
            self._check_length(example)
        return target

    def report_unlabelled(self, path: Path) -> None:
        """Say which columns a file has whose rows count as unlabelled, since the target's is not among them."""
        if self._without_column is not None and "{{" not in self._task.target:
            logger.info(
                "%s has rows without the column %r, which count as unlabelled; their columns are %s",
                path, self._task.target, ", ".join(map(repr, self._without_column)),
            )  # fmt: skip
        self._without_column = None

    def _add_duplicate(self, row: CollectedRow) -> None:
        """Keep inputs that come again: a source repeats its frequent texts, and without them each run would see only
        the rare ones, which looks like drift."""
        arrival = row.id, row.run, row.file
        if self._read_before[arrival]:
            self._read_before[arrival] -= 1
        else:
            self.duplicate_rows.append(row)

    def target(self, row: CollectedRow) -> str | None:
        """Return the right answer to a collected row; None where it is unlabelled."""
        return None if row.destination == "unlabelled" else self._spelling.known(self._read(row.row).target)

    def _key(self, inputs: dict[str, str]) -> str:
        return normalised(SourceRow(0, Example("", inputs, "")))


def _without_label_check(task: TaskConfig) -> TaskConfig:
    """Return the task without its list of labels: an unlisted label is reported differently from a broken one."""
    return task if output_of(task).classes is None else replace(task, labels=None, definitions={})


def _received(row: dict[str, Any] | None, column: str | None, now: datetime) -> str:
    """Return a row's time as ISO 8601 in UTC. Raises ValueError for one that is not a time, or lies in the future."""
    if column is None or row is None:
        return now.isoformat(timespec="seconds")
    if row.get(column) in (None, ""):
        raise ValueError(f"the time is missing ({column})")
    try:
        time = datetime.fromisoformat(str(row[column]))
    except ValueError:
        raise ValueError(
            f"column {column!r} is {row[column]!r:.40}, and a time such as 2026-01-31T08:00:00Z was expected"
        ) from None
    time = time if time.tzinfo else time.replace(tzinfo=UTC)
    if time > now:
        raise ValueError(f"column {column!r} is {row[column]!r:.40}, which is later than this machine's clock")
    return time.astimezone(UTC).isoformat(timespec="seconds")


def _with_destinations(known: _KnownRows, config: Config) -> tuple[list[CollectedRow], list[str]]:
    """Return the rows with a place for each, and the labels that joined the task."""
    settings, label_task = config.retrain, output_of(config.task).classes is not None
    targets = {row.id: known.target(row) for row in known.rows}
    placed = {targets[row.id] for row in known.rows if row.destination in ("train", "dev", "holdout")}
    labels = known.source_labels | placed
    pending: dict[str | None, list[CollectedRow]] = {}
    for row in known.rows:
        if row.destination == "pending":
            pending.setdefault(targets[row.id] if label_task else None, []).append(row)
    destination: dict[str, Destination] = {}
    joined = []
    for label, rows in pending.items():
        chosen = dict(_held_out(rows, config))
        if label_task and label not in labels:
            if len(rows) < settings.min_label_rows:
                continue
            _ensure_minimum(chosen, rows, settings.holdout_share > 0, settings.dev > 0)
            joined.append(str(label))
        destination |= chosen
    found = [
        replace(row, destination=destination[row.id]) if row.destination == "pending" and row.id in destination else row
        for row in known.rows
    ]
    return _within_window(found, settings.holdout_rows), sorted(joined)


def _held_out(rows: Sequence[CollectedRow], config: Config) -> Iterator[tuple[str, Destination]]:
    """Yield the destination of each row: by the hash of its inputs, or with the newest ones held out."""
    settings = config.retrain
    by_time = sorted(rows, key=lambda row: (row.received, row.id), reverse=True)
    for place, row in enumerate(by_time):
        drawn = int(hashlib.sha256(f"{config.seed}:collected:{row.id}".encode()).hexdigest()[:12], 16) / 16**12
        share = drawn if settings.split == "random" else (place + drawn) / len(rows)
        if share < settings.holdout_share:
            yield row.id, "holdout"
        else:
            yield row.id, "dev" if share < settings.holdout_share + settings.dev else "train"


def _ensure_minimum(
    chosen: dict[str, Destination], rows: Sequence[CollectedRow], has_holdout: bool, has_dev: bool
) -> None:
    """Give a label that joins the task at least two rows in train and one each in dev and in the window."""
    wanted: list[Destination] = ["train", "train"]
    wanted += ["dev"] if has_dev else []
    wanted += ["holdout"] if has_holdout else []
    ids = [row.id for row in rows]
    for destination in dict.fromkeys(wanted):
        while sum(chosen[key] == destination for key in ids) < wanted.count(destination):
            counts = Counter(chosen[key] for key in ids)
            spare = next(key for key in ids if counts[chosen[key]] > wanted.count(chosen[key]))
            chosen[spare] = destination


def _within_window(rows: list[CollectedRow], holdout_rows: int) -> list[CollectedRow]:
    """Keep the newest rows in the recent window; older ones beyond `holdout_rows` go into train."""
    held_out = [row for row in rows if row.destination == "holdout"]
    recent = sorted(held_out, key=lambda row: (row.received, row.run, row.id))
    beyond = {row.id for row in recent[: max(len(recent) - holdout_rows, 0)]}
    return [replace(row, destination="train") if row.id in beyond else row for row in rows]


def _sampled(rows: list[CollectedRow], run: int, max_rows: int | None) -> list[CollectedRow]:
    """Return the rows without those of this run that are for drift only, beyond `max_rows`.

    Those with the smallest hash of run and inputs stay: a run that is repeated draws the same rows, and the draws of
    two runs are independent.
    """
    seen = Counter[str]()
    drawn = []
    for place, row in enumerate(rows):
        if row.destination in ("unlabelled", "duplicate") and row.run == run:
            seen[row.id] += 1
            drawn.append((hashlib.sha256(f"{run}:{row.id}:{seen[row.id]}".encode()).digest(), place))
    beyond = {place for _, place in sorted(drawn)[len(drawn) if max_rows is None else max_rows :]}
    return [row for place, row in enumerate(rows) if place not in beyond]


def _bounded(rows: list[CollectedRow], most: int | None) -> list[CollectedRow]:
    """Return the rows without the oldest of those for drift only, of all runs, beyond `most`.

    The rows of one run are in no order but that of a hash of run and inputs, as in `_sampled`.
    """
    seen = Counter[tuple[int, str]]()
    drawn = []
    for place, row in enumerate(rows):
        if row.destination in ("unlabelled", "duplicate"):
            seen[row.run, row.id] += 1
            key = f"{row.run}:{row.id}:{seen[row.run, row.id]}"
            drawn.append((-row.run, hashlib.sha256(key.encode()).digest(), place))
    beyond = {place for *_, place in sorted(drawn)[len(drawn) if most is None else most :]}
    return [row for place, row in enumerate(rows) if place not in beyond]


def _archive(path: Path, folder: Path) -> None:
    """Move a file out of the inbox; one of the same name with another content is kept too."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / path.name
    number = 2
    while target.exists() and sha256_file(target) != sha256_file(path):
        target = folder / f"{path.stem}-{number}{path.suffix}"
        number += 1
    try:
        path.replace(target)
    except OSError:  # another file system: copy, then remove
        partial = target.with_name(f".{target.name}.part")
        shutil.copyfile(path, partial)
        partial.replace(target)
        path.unlink()
