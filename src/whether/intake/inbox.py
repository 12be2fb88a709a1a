"""Files in the inbox become collected rows, each once; what cannot be used is set aside with the reason.

A night may be killed anywhere. Rows are known by the hash of their inputs, the file of collected rows is replaced
whole, and a file leaves the inbox only after its rows are there: read again, all of them are known.
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
from whether.errors import RecordError
from whether.intake.lines import Line, read_lines
from whether.outputs.kinds import output_of
from whether.prepare.collected import collected_file, read_collected
from whether.prepare.duplicates import normalised
from whether.prepare.rows import SourceRow, example_id, example_reader, read_examples, read_inputs, target_text
from whether.records import (
    CollectedRow,
    Destination,
    Example,
    IntakeCounts,
    Quarantined,
    sha256_file,
    to_builtins,
    write_jsonl,
)

logger = logging.getLogger(__name__)

SUFFIXES = (".jsonl", ".csv")


@dataclass
class IntakePlan:
    """What a night takes in, before anything is written."""

    rows: list[CollectedRow]
    """All rows that are known then, in the order of arrival."""
    taken: IntakeCounts
    files: list[Path] = field(default_factory=list)
    """Of the inbox."""
    quarantined: list[Quarantined] = field(default_factory=list)
    changed: bool = False
    """Whether `rows` differs from what is on disk."""


def arrived_files(inbox: Path) -> list[Path]:
    """Return the files that are waiting, by name. A folder that is not there is an empty one."""
    if not inbox.exists():
        return []
    if not inbox.is_dir():
        raise RecordError(f"retrain.inbox: {inbox} is a file, and a folder was expected")
    return sorted(
        file for file in inbox.iterdir() if file.is_file() and not file.name.startswith(".") and file.suffix in SUFFIXES
    )


def plan_intake(config: Config, night: int, now: datetime, collected: Path | None = None) -> IntakePlan:
    """Read the inbox and decide about every row; nothing is written.

    Raises DataError for a task's own file, or a file of collected rows, that cannot be read.
    """
    task = config.task
    file = collected or collected_file(task)
    before = read_collected(file)
    known = _KnownRows(task, read_examples(task).rows, before, file)
    intake = IntakePlan(list(before), IntakeCounts(), arrived_files(Path(config.retrain.inbox)))
    for path in intake.files:
        for line in read_lines(path):
            try:
                known.take(line, path.name, night, _received(line.row, config.retrain.time, now))
            except ValueError as error:
                intake.quarantined.append(Quarantined(path.name, line.number, str(error), line.row, line.text))
    placed, joined = _with_destinations(known, config)
    placed += known.repeats
    rows = _sampled(placed, night, config.retrain.unlabelled)
    intake.rows = rows
    intake.changed = rows != before
    intake.taken = IntakeCounts(
        files=len(intake.files),
        labelled=known.labelled,
        unlabelled=known.unlabelled,
        duplicates=known.duplicates,
        left_out=len(placed) - len(rows),
        quarantined=len(intake.quarantined),
        waiting=sum(row.destination == "waiting" for row in rows),
        new_labels=joined,
        unknown_labels=dict(known.unknown),
    )
    return intake


def apply_intake(intake: IntakePlan, config: Config, night: int, collected: Path | None = None) -> None:
    """Write what was decided: first what is set aside, then the rows; last, the files leave the inbox."""
    folder = Path(config.retrain.folder)
    for path in intake.files:
        aside = [to_builtins(row) for row in intake.quarantined if row.file == path.name]
        if aside:
            write_jsonl(folder / "quarantine" / f"{night:06d}-{path.name}.jsonl", aside)
    if intake.changed:
        write_jsonl(collected or collected_file(config.task), intake.rows)
    for path in intake.files:
        _archive(path, folder / "taken" / f"{night:06d}")


def withdraw(config: Config, nights: Sequence[int], night: int) -> int:
    """Set the collected rows of some nights aside, such as those with wrong labels, and return how many there were."""
    file = collected_file(config.task)
    rows = read_collected(file)
    out = [row for row in rows if row.night in nights]
    if out:
        reason = f"withdrawn after night {night - 1}"
        aside = [Quarantined(row.file, 0, reason, row.row) for row in out]
        name = f"withdrawn-{'-'.join(map(str, sorted(nights)))}"
        write_jsonl(Path(config.retrain.folder) / "quarantine" / f"{night:06d}-{name}.jsonl", aside)
        write_jsonl(file, [row for row in rows if row.night not in nights])
    return len(out)


class _KnownRows:
    """Rows that are known, and what becomes of each that comes."""

    def __init__(self, task: TaskConfig, source: Sequence[SourceRow], collected: Sequence[CollectedRow], file: Path):
        self._task = task
        self._read: Callable[[dict[str, Any]], Example] = example_reader(_without_label_check(task), file)
        self._file = file
        self._source = {normalised(row): row.example.target for row in source}
        self.source_labels = {row.example.target for row in source}
        self.rows = [row for row in collected if row.destination != "repeat"]
        self.repeats = [row for row in collected if row.destination == "repeat"]
        self._read_before = Counter((row.id, row.labelled or row.night, row.file) for row in collected)
        """Arrivals of a night from a file: that are there already when a night that was killed reads it again."""
        self._place = {self._key(read_inputs(task, row.row)): place for place, row in enumerate(self.rows)}
        self.labelled = self.unlabelled = self.duplicates = 0
        self.unknown: Counter[str] = Counter()

    def take(self, line: Line, file: str, night: int, received: str) -> None:
        """Add a row. Raises ValueError for one that has to be set aside."""
        if line.row is None:
            raise ValueError(line.reason)
        inputs = read_inputs(self._task, line.row)
        labelled = _has_target(self._task, line.row)
        target = self._read(line.row).target if labelled else None
        if target is not None and self._task.labels is not None and target not in self._task.labels:
            self.unknown[target] += 1
            raise ValueError(
                f"label {target!r} is not among task.labels: add it to conf/task, or correct the row, and put it"
                " into the inbox again"
            )
        key = self._key(inputs)
        place = self._place.get(key)
        answer = self._source.get(key) if place is None else self.target(self.rows[place])
        if place is None and answer is None:
            self._place[key] = len(self.rows)
            destination: Destination = "waiting" if labelled else "unlabelled"
            since = night if labelled else None
            self.rows.append(CollectedRow(example_id(inputs), destination, received, night, since, file, line.row))
        elif target is None or target == answer:
            self.duplicates += 1
            self._repeat(
                CollectedRow(example_id(inputs), "repeat", received, night, night if labelled else None, file, line.row)
            )
            return
        elif place is not None and answer is None:  # known without a label, and here it is
            old = self.rows[place]
            self.rows[place] = replace(old, destination="waiting", labelled=night, file=file, row=line.row)
        else:
            raise ValueError(f"these inputs are known with the answer {answer!r:.80}, and this row says {target!r:.80}")
        if labelled:
            self.labelled += 1
        else:
            self.unlabelled += 1

    def _repeat(self, row: CollectedRow) -> None:
        """Keep inputs that come again: what a source sends often it sends again, and without them each night would be
        made of its rare ones, which looks like drift."""
        arrival = row.id, row.night, row.file
        if self._read_before[arrival]:
            self._read_before[arrival] -= 1
        else:
            self.repeats.append(row)

    def target(self, row: CollectedRow) -> str | None:
        """Return the right answer to a collected row; None where it is unlabelled."""
        return None if row.destination == "unlabelled" else self._read(row.row).target

    def _key(self, inputs: dict[str, str]) -> str:
        return normalised(SourceRow(0, Example("", inputs, "")))


def _without_label_check(task: TaskConfig) -> TaskConfig:
    """A label that the settings do not list is told apart from one that is broken."""
    return task if output_of(task).classes is None else replace(task, labels=None, definitions={})


def _has_target(task: TaskConfig, row: dict[str, Any]) -> bool:
    """Return whether a row has an answer: its column is there and not empty."""
    if "{{" in task.target:
        try:
            return bool(target_text(task, row, Path("inbox")).strip())
        except Exception:  # noqa: BLE001 - a template over columns that are not there: no answer
            return False
    value = row.get(task.target)
    return value is not None and (not isinstance(value, str) or bool(value.strip()))


def _received(row: dict[str, Any] | None, column: str | None, now: datetime) -> str:
    """Return a row's time as ISO 8601 in UTC. Raises ValueError for one that is no time, or lies ahead."""
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
        raise ValueError(f"column {column!r} is {row[column]!r:.40}, which lies ahead of this machine's clock")
    return time.astimezone(UTC).isoformat(timespec="seconds")


def _with_destinations(known: _KnownRows, config: Config) -> tuple[list[CollectedRow], list[str]]:
    """Return the rows with a place for each, and the labels that joined the task."""
    settings, label_task = config.retrain, output_of(config.task).classes is not None
    targets = {row.id: known.target(row) for row in known.rows}
    placed = {targets[row.id] for row in known.rows if row.destination in ("train", "dev", "recent")}
    labels = known.source_labels | placed
    waiting: dict[str | None, list[CollectedRow]] = {}
    for row in known.rows:
        if row.destination == "waiting":
            waiting.setdefault(targets[row.id] if label_task else None, []).append(row)
    destination: dict[str, Destination] = {}
    joined = []
    for label, rows in waiting.items():
        chosen = dict(_held_out(rows, config))
        if label_task and label not in labels:
            if len(rows) < settings.label_least:
                continue
            _ensure_minimum(chosen, rows, settings.recent > 0, settings.dev > 0)
            joined.append(str(label))
        destination |= chosen
    found = [
        replace(row, destination=destination[row.id]) if row.destination == "waiting" and row.id in destination else row
        for row in known.rows
    ]
    return _within_window(found, settings.window), sorted(joined)


def _held_out(rows: Sequence[CollectedRow], config: Config) -> Iterator[tuple[str, Destination]]:
    """Yield a place for each row: by the hash of its inputs, or the newest ones held out."""
    settings = config.retrain
    by_time = sorted(rows, key=lambda row: (row.received, row.id), reverse=True)
    for place, row in enumerate(by_time):
        drawn = int(hashlib.sha256(f"{config.seed}:collected:{row.id}".encode()).hexdigest()[:12], 16) / 16**12
        share = drawn if settings.split == "random" else (place + drawn) / len(rows)
        if share < settings.recent:
            yield row.id, "recent"
        else:
            yield row.id, "dev" if share < settings.recent + settings.dev else "train"


def _ensure_minimum(
    chosen: dict[str, Destination], rows: Sequence[CollectedRow], has_recent: bool, has_dev: bool
) -> None:
    """Let a label that joins the task have two rows in train and one in dev and in the window."""
    wanted: list[Destination] = ["train", "train"]
    wanted += ["dev"] if has_dev else []
    wanted += ["recent"] if has_recent else []
    ids = [row.id for row in rows]
    for destination in dict.fromkeys(wanted):
        while sum(chosen[key] == destination for key in ids) < wanted.count(destination):
            counts = Counter(chosen[key] for key in ids)
            spare = next(key for key in ids if counts[chosen[key]] > wanted.count(chosen[key]))
            chosen[spare] = destination


def _within_window(rows: list[CollectedRow], window: int) -> list[CollectedRow]:
    """Let the newest rows stay in the window; those beyond train from now on."""
    held_out = [row for row in rows if row.destination == "recent"]
    recent = sorted(held_out, key=lambda row: (row.received, row.night, row.id))
    beyond = {row.id for row in recent[: max(len(recent) - window, 0)]}
    return [replace(row, destination="train") if row.id in beyond else row for row in rows]


def _sampled(rows: list[CollectedRow], night: int, most: int | None) -> list[CollectedRow]:
    """Return the rows without those of this night that are for drift alone, beyond `most`.

    Those with the smallest hash of night and inputs stay: a draw that a night which is repeated makes again, and that
    says nothing of another night's.
    """
    seen = Counter[str]()
    drawn = []
    for place, row in enumerate(rows):
        if row.destination in ("unlabelled", "repeat") and row.night == night:
            seen[row.id] += 1
            drawn.append((hashlib.sha256(f"{night}:{row.id}:{seen[row.id]}".encode()).digest(), place))
    beyond = {place for _, place in sorted(drawn)[len(drawn) if most is None else most :]}
    return [row for place, row in enumerate(rows) if place not in beyond]


def _archive(path: Path, folder: Path) -> None:
    """Move a file out of the inbox; one of the same name and another content stays too."""
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
