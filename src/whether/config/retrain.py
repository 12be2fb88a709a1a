"""When a scheduled job retrains, and what a challenger has to show: the section `retrain`."""

import re
from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from whether.config.types import STRICT, Component, Count, Positive


@dataclass(frozen=True, config=STRICT)
class GateConfig:
    """What a challenger has to show against the champion, beside the policy's constraints."""

    margin: Annotated[float, Field(gt=0, lt=0.5)] | None = None
    """A loss on the fixed test split smaller than this is none; None: the policy's margin."""
    recent_margin: Annotated[float, Field(gt=0, le=1)] = 0.1
    """The same on the recent window, which holds fewer examples."""
    recent_least: Count = 20
    """Rows that the recent window needs before the gate looks at it."""


@dataclass(frozen=True, config=STRICT)
class RetrainConfig:
    """The job `python -m pipelines.retrain`: where rows arrive, how they are divided, what makes it retrain."""

    inbox: str = "inbox"
    """Folder where .jsonl and .csv files arrive; one of another name, or that begins with a dot, is left alone."""
    folder: str = "retrain"
    """Folder of what the job keeps: champion, bundles, nights, originals of what arrived, quarantine."""
    time: str | None = None
    """Column with a row's time (ISO 8601; UTC where it names no zone); None: the time at which it is taken in."""
    recent: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """Share of new labelled rows that are held out for the gate, in the recent window."""
    dev: Annotated[float, Field(ge=0, lt=1)] = 0.15
    """Share that goes into dev; what is left goes into train."""
    split: Literal["random", "time"] = "random"
    """Which rows are held out: drawn by the hash of their inputs, or the newest of each night."""
    window: Count = 200
    """Rows in the recent window at most; the oldest beyond go into train."""
    label_least: Annotated[int, Field(ge=4)] = 10
    """Rows that a label never seen needs before it joins the task (where task.labels is null); fewer wait."""
    unlabelled: Count | None = 1000
    """Rows of a night without a label, or with inputs that were known, that are kept, drawn by a hash of night and
    inputs; None: all. They are looked at for drift alone, in no greater number than a trigger's `most`."""
    collect: list[str] = field(default_factory=list)
    """Command and its arguments that fetches new rows into the inbox, run when a night begins; {inbox} becomes that
    folder, {since} the time at which the last night that did not fail began (empty at first)."""
    collect_timeout: Positive = 3600.0
    """Seconds that it may take."""
    warm_start: bool = False
    """Whether a challenger is tuned from the champion's adapter too, beside the one that is tuned anew."""
    commit: str | None = None
    """Git branch that gets a commit of data.dvc, dvc.lock and params.yaml (`HEAD`: the current one); None: none, they
    are staged only."""
    bundles: Count = 10
    """Bundles that are kept, beside the champion and the one before it."""
    after_promotion: list[str] = field(default_factory=list)
    """Command and its arguments, run after a promotion; {bundle} becomes the bundle's folder, {arm} its arm."""
    webhook_env: str | None = None
    """Name of the environment variable with an address that gets the summary as JSON after a promotion."""
    hook_timeout: Positive = 60.0
    """Seconds that each of the two may take."""
    gate: GateConfig = field(default_factory=GateConfig)
    triggers: dict[str, Component] = field(default_factory=dict)
    """Name → `_target_` in whether.retrain.triggers and its arguments."""

    def __post_init__(self) -> None:
        if self.recent + self.dev >= 1:
            raise ValueError(f"recent + dev must leave a share for train, and are {self.recent} + {self.dev}")
        for name, trigger in self.triggers.items():
            most = trigger.get("most")
            if self.unlabelled is not None and isinstance(most, int) and most > self.unlabelled:
                raise ValueError(
                    f"unlabelled must be at least {most}, since the trigger {name} looks at so many rows of a night"
                    f" (most), and is {self.unlabelled}"
                )
        if self.webhook_env is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", self.webhook_env):
            raise ValueError("webhook_env must be the name of an environment variable, not an address")
