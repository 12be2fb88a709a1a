"""When a scheduled job retrains, and what a challenger has to show: the section `retrain`."""

import re
from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from whether.config.types import STRICT, Component, Count, Positive


@dataclass(frozen=True, config=STRICT)
class GateConfig:
    """What a challenger has to show against the champion, in addition to the policy's constraints."""

    margin: Annotated[float, Field(gt=0, lt=0.5)] | None = None
    """A loss on the fixed test split smaller than this is tolerated; None: the policy's margin."""
    recent_margin: Annotated[float, Field(gt=0, le=1)] = 0.1
    """The same on the recent window, which holds fewer examples."""
    min_recent_rows: Count = 20
    """Rows that the recent window needs before the gate uses it."""


@dataclass(frozen=True, config=STRICT)
class RetrainConfig:
    """The job `whether retrain run`: where rows arrive, how they are split, what makes it retrain."""

    inbox: str = "inbox"
    """Folder where files of rows arrive, of any kind that a task's own file may be; those that begin with a dot are
    ignored, and what else lies there is reported."""
    folder: str = "retrain"
    """Folder of what the job keeps: champion, bundles, retraining runs, originals of what arrived, quarantine."""
    time: str | None = None
    """Column with a row's time (ISO 8601; UTC where it names no zone); None: the time at which it is taken in."""
    holdout_share: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """Share of new labelled rows that are held out for the gate, in the recent window."""
    dev: Annotated[float, Field(ge=0, lt=1)] = 0.15
    """Share that goes into dev; the rest goes into train."""
    split: Literal["random", "time"] = "random"
    """Which rows are held out: drawn by the hash of their inputs, or the newest of each run."""
    holdout_rows: Count = 200
    """Rows in the recent window at most; the oldest beyond go into train."""
    min_label_rows: Annotated[int, Field(ge=4)] = 10
    """Rows that a new label needs before it joins the task (where task.labels is null); until then they wait."""
    max_unlabelled_rows: Count | None = 1000
    """Rows of a run without a label, or with inputs that were known, that are kept at most, drawn by a hash of run and
    inputs; None: all. They are used for drift only, by each trigger up to its `max_rows`."""
    max_drift_rows: Count | None = 20000
    """Of those, rows of all runs together that are kept at most, the newest; None: all."""
    collect: list[str] = field(default_factory=list)
    """Command with arguments that fetches new rows into the inbox when a run starts; {inbox} is replaced by that
    folder, {since} by the start of the last run that did not fail (empty at first)."""
    collect_timeout: Positive = 3600.0
    """Seconds that it may take."""
    warm_start: bool = False
    """Whether a challenger is also tuned from the champion's adapter, next to the one that is tuned from scratch."""
    commit: str | None = None
    """Git branch that gets a commit of data.dvc, dvc.lock, params.yaml and a project's code.yaml (`HEAD`: the current
    one); None: they are only staged."""
    bundles: Count = 10
    """Bundles that are kept, in addition to the champion and the one before it."""
    after_promotion: list[str] = field(default_factory=list)
    """Command with arguments, run after a promotion; {bundle} is replaced by the bundle's folder, {arm} by its arm."""
    webhook_env: str | None = None
    """Name of the environment variable with an address that gets the summary as JSON after a promotion."""
    hook_timeout: Positive = 60.0
    """Seconds that each of the two may take."""
    gate: GateConfig = field(default_factory=GateConfig)
    triggers: dict[str, Component] = field(default_factory=dict)
    """Name → `_target_` in whether.retrain.triggers and its arguments."""

    def __post_init__(self) -> None:
        if self.holdout_share + self.dev >= 1:
            raise ValueError(
                f"holdout_share + dev must leave a share for train, and are {self.holdout_share} + {self.dev}"
            )
        if self.max_drift_rows is not None and self.max_drift_rows < (self.max_unlabelled_rows or 1):
            raise ValueError(
                f"max_drift_rows must be at least max_unlabelled_rows={self.max_unlabelled_rows}, the rows of one run,"
                f" and is {self.max_drift_rows}"
            )
        for name, trigger in self.triggers.items():
            max_rows, kept = trigger.get("max_rows"), self.max_unlabelled_rows
            if kept is not None and isinstance(max_rows, int) and max_rows > kept:
                raise ValueError(
                    f"max_unlabelled_rows must be at least {max_rows}, since the trigger {name} tests up to that many"
                    f" rows of a run (max_rows), and is {kept}"
                )
        if self.webhook_env is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", self.webhook_env):
            raise ValueError("webhook_env must be the name of an environment variable, not an address")
