"""The types that cross stages, and how they are read and written.

Every stage writes plain files under `artifacts/<stage>/`; these types are their keys. Writes are atomic: a file or a
folder is made beside its place and renamed into it, so a full disk or a kill leaves the old one or none, never half.
"""

import dataclasses
import errno
import hashlib
import json
import os
import shutil
import tempfile
import typing
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from pydantic import TypeAdapter, ValidationError

from whether.errors import RecordError

Split = Literal["train", "dev", "test"]
Output = Literal["label", "text", "json"]
Answer = Literal["prompt", "fine_tune", "both", "no_difference", "inconclusive"]

ARTIFACTS = Path("artifacts")
STATE = Path(".state")
"""Where unfinished work waits to be resumed; not an output of any stage, so DVC leaves it alone."""


@dataclass(frozen=True)
class Example:
    """One row of a task: a line of artifacts/prepare/{train,dev,test}.jsonl."""

    id: str
    """Unique over all splits."""
    inputs: dict[str, str]
    """Prompt variable → text, as the task's `inputs` names them."""
    target: str
    """The right answer as text; canonical JSON for a `json` task."""


@dataclass(frozen=True)
class Task:
    """What has to be done: artifacts/prepare/task.json."""

    name: str
    output: Output
    metric: str
    """The primary metric's key in `METRICS`."""
    instruction: str
    """What a prompt tells the model to do; plain text."""
    input_template: str
    """Sandboxed Jinja over `Example.inputs`: how one input reads in a prompt."""
    labels: list[str]
    """The possible answers of a `label` task, in a fixed order; empty for other outputs."""
    schema: dict[str, Any] | None
    """JSON Schema (2020-12) that a valid answer of a `json` task satisfies."""
    answer_pattern: str | None
    """Regular expression; a `text` answer is its first match in the output (its first group, if it has one)."""
    max_new_tokens: int
    """Most tokens that an answer may take."""


@dataclass(frozen=True)
class Prediction:
    """One answer of one arm: a line of artifacts/prompt/<arm>/predictions.jsonl."""

    id: str
    """`Example.id`."""
    split: Split
    output: str
    """What the model wrote, untouched."""
    answer: str | None
    """What was understood: a label, the text, or canonical JSON; None if nothing valid was found."""
    target: str
    score: float
    """In [0, 1]; 1.0 is right."""
    valid: bool
    """Whether the output has the form that the task asks for."""
    prompt: str
    """The rendered prompt, chat template included."""
    input_tokens: int
    """Tokens of the whole prompt."""
    cached_tokens: int
    """Of these, how many were computed once for many requests (the shared prefix)."""
    output_tokens: int
    seconds: float
    """This request's share of its batch's wall time."""


class MetricInfo(NamedTuple):
    """How to read a metric: its unit, which way is better, and what it is in a sentence."""

    unit: str
    higher_is_better: bool
    description: str


METRICS: dict[str, MetricInfo] = {
    "accuracy": MetricInfo("fraction", True, "share of examples whose label is right; an invalid answer is wrong"),
    "exact_match": MetricInfo("fraction", True, "share of examples whose answer equals the target"),
    "macro_f1": MetricInfo("fraction", True, "F1 of each label, averaged over labels"),
    "valid_rate": MetricInfo("fraction", True, "share of outputs that have the form the task asks for"),
    "input_tokens": MetricInfo("tokens/request", False, "tokens of the whole prompt"),
    "computed_tokens": MetricInfo(
        "tokens/request", False, "prompt tokens left to compute when the shared prefix is cached"
    ),
    "output_tokens": MetricInfo("tokens/request", False, "tokens of the answer"),
    "seconds_per_request": MetricInfo(
        "seconds", False, "wall time of a request in a batch, on the machine that measured"
    ),
    "latency_p50": MetricInfo("seconds", False, "median wall time of a request sent alone"),
    "latency_p95": MetricInfo("seconds", False, "95th percentile of the wall time of a request sent alone"),
    "usd_per_1k": MetricInfo("USD", False, "running cost of 1,000 requests by the price list"),
    "usd_per_month": MetricInfo(
        "USD", False, "running cost at the policy's volume and the cost to build spread over its months"
    ),
    "usd_to_build": MetricInfo(
        "USD", False, "labels and machine time spent before the first request, by the price list"
    ),
    "retention": MetricInfo("fraction", True, "mean accuracy on the retention suite: general ability"),
    "retention_change": MetricInfo("fraction", True, "retention minus that of the base checkpoint"),
    "perplexity": MetricInfo("per token", False, "perplexity on held-out general text"),
    "tokens_per_second": MetricInfo("tokens/second", True, "prompt tokens read a second in batches"),
    "tokens_per_second_decode": MetricInfo("tokens/second", True, "answer tokens written a second in batches"),
    "peak_memory": MetricInfo("bytes", False, "peak resident memory of the process that serves"),
    "disk": MetricInfo("bytes", False, "size of what has to be stored for the checkpoint beyond the base model"),
}


@dataclass(frozen=True)
class Measurement:
    """A number with what is needed to judge it. `value` is None where it was not measured, never 0."""

    value: float | None
    unit: str
    higher_is_better: bool
    ci_low: float | None = None
    ci_high: float | None = None
    n: int | None = None
    """Observations behind the value."""


def measurement(
    metric: str, value: float | None, ci: tuple[float, float] | None = None, n: int | None = None
) -> Measurement:
    """Return a `Measurement` of a metric in `METRICS`, with its unit and direction filled in."""
    info = METRICS[metric]
    low, high = ci if ci else (None, None)
    return Measurement(value, info.unit, info.higher_is_better, low, high, n)


@dataclass(frozen=True)
class ArmRecord:
    """One arm in verdict.json."""

    checkpoint: str
    prompt: str
    answer: Literal["prompt", "fine_tune", "both"]
    """The answer that choosing this arm would mean."""
    metrics: dict[str, Measurement]
    """On test, and measured cost; what does not apply to the task is left out."""
    dev: dict[str, float] = field(default_factory=dict)
    """Quality on dev, by which the arms that test compares were chosen."""


@dataclass(frozen=True)
class Comparison:
    """A paired difference between two arms on the same test examples: `difference` = arm_a minus arm_b."""

    arm_a: str
    arm_b: str
    metric: str
    difference: float
    ci_low: float
    ci_high: float
    p_value: float
    p_adjusted: float
    """After Holm's correction over the comparisons of the same family."""
    n: int
    """Paired examples."""
    conclusion: str
    """`a_better`, `b_better`, `equivalent`, `a_not_worse`, `b_not_worse` or `inconclusive`."""
    family: Literal["decision", "exploratory"]
    """`decision`: planned, between the arms that dev chose; `exploratory`: every other pair, corrected by itself."""


@dataclass(frozen=True)
class BreakEven:
    """At which volume a tuned arm costs as much a month as a prompt arm, building spread over the policy's months."""

    arm: str
    """A tuned arm."""
    against: str
    """A prompt arm."""
    outcome: Literal["always", "above", "below", "never"]
    """Where the tuned arm is the cheaper one: at any volume, above or below `requests_per_month`, or at none."""
    requests_per_month: float | None
    """None where the lines of cost do not cross."""
    reason: str
    """One sentence."""


@dataclass(frozen=True)
class Provenance:
    """What a result was made from."""

    commit: str | None
    """Git commit, or None outside a repository."""
    dirty: bool | None
    """Whether code, conf/ or params.yaml differed from that commit (dvc.lock, which a run writes, does not count)."""
    data_hash: str
    model_hash: str
    versions: dict[str, str]
    created_at: str
    """UTC, ISO 8601."""


@dataclass(frozen=True)
class Verdict:
    """artifacts/compare/verdict.json, the product's contract: keys may be added, none is renamed."""

    answer: Answer
    recommended_arm: str | None
    reasons: list[str]
    """Sentences, the most important first."""
    task: str
    model: str
    arms: dict[str, ArmRecord]
    comparisons: list[Comparison]
    provenance: Provenance
    further_labels: int | None = None
    """When inconclusive: about how many more labelled test examples would settle it."""
    metric: str = ""
    """The primary metric's key in `METRICS`: what `comparisons` compare."""
    baseline: float | None = None
    """The primary metric of always giving the most frequent answer: what an arm must beat to have learnt the task."""
    representatives: dict[str, str] = field(default_factory=dict)
    """prompt, fine_tune, both → the arm of that kind that dev chose."""
    status: dict[str, Literal["acceptable", "rejected", "undecided"]] = field(default_factory=dict)
    """Of each representative on test: shown not to be worse by the margin, shown to be worse, or neither."""
    excluded: dict[str, str] = field(default_factory=dict)
    """Arm → the hard constraint that it breaks, as a sentence."""
    break_even: list[BreakEven] = field(default_factory=list)
    policy: dict[str, Any] = field(default_factory=dict)
    pricing: dict[str, Any] = field(default_factory=dict)


T = TypeVar("T")


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def to_plain(record: Any) -> Any:
    """Return a record as dicts, lists and scalars."""
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        return dataclasses.asdict(record)
    return record


def read_json(path: Path, kind: type[T] = dict) -> T:  # type: ignore[assignment]
    """Read one record of type `kind`. Raises RecordError naming the file and the first bad field."""
    return _parse(path, path.name, _read_bytes(path), kind)


def read_jsonl(path: Path, kind: type[T] = dict) -> list[T]:  # type: ignore[assignment]
    """Read one record of type `kind` from each line. Raises RecordError naming file, line and field."""
    lines = _read_bytes(path).splitlines()
    return [_parse(path, f"line {number}", line, kind) for number, line in enumerate(lines, 1) if line.strip()]


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise RecordError(f"{path} is missing: run `dvc repro` to make it") from None
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror}") from None


def _parse(path: Path, where: str, text: bytes, kind: type[T]) -> T:
    try:
        return typing.cast("T", _adapter(typing.cast("Any", kind)).validate_json(text))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise RecordError(f"{path}, {where}: {key + ': ' if key else ''}{first['msg']}") from None


def write_json(path: Path, record: Any) -> None:
    """Write one record, atomically, with sorted meaning kept: keys in the order of the type."""
    write_text(path, json.dumps(to_plain(record), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: Path, records: Iterable[Any]) -> None:
    """Write one record a line, atomically."""
    lines = (json.dumps(to_plain(record), ensure_ascii=False, allow_nan=False) for record in records)
    write_text(path, "".join(line + "\n" for line in lines))


def write_text(path: Path, text: str) -> None:
    """Write a file atomically: a full disk or a kill leaves the old content or none."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def output_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `path` when the block ends well and vanishes when it does not."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        try:
            temporary.chmod(0o755)
            yield temporary
            if path.exists():
                shutil.rmtree(path)
            temporary.rename(path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's refusal to write into one clear RecordError that names the place."""
    advice = {
        errno.ENOSPC: "the disk is full: free some space and run again",
        errno.EDQUOT: "the disk quota is used up: free some space and run again",
        errno.EACCES: "no permission to write there: check the folder's owner and mode",
        errno.EPERM: "no permission to write there: check the folder's owner and mode",
        errno.EROFS: "the file system is read-only",
        errno.ENOTDIR: "a file stands where a folder is needed",
        errno.EISDIR: "a folder stands where a file is needed",
    }
    try:
        yield
    except OSError as error:
        if error.errno not in advice:
            raise
        raise RecordError(f"{path} cannot be written: {advice[error.errno]}; nothing was left half-written") from error


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's content in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_folder(path: Path, pattern: str = "**/*") -> str:
    """Return a SHA-256 over the names and contents of the files under a folder that match `pattern`, in hex."""
    digest = hashlib.sha256()
    for file in sorted(entry for entry in path.glob(pattern) if entry.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()}\0{sha256_file(file)}\n".encode())
    return digest.hexdigest()


def sha256_plain(value: Mapping[str, Any] | list[Any] | str) -> str:
    """Return the SHA-256 of a JSON value in canonical form (sorted keys), in hex."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
