"""Rows that an arm could not answer, and how many of them a run bears."""

from dataclasses import dataclass, field

SMALL = 3
"""So many rows may fail whatever the share, as long as they are no more than a quarter of all."""


def allowed_failures(asked: int, share: float) -> int:
    """Return how many of `asked` rows may fail without ending a run, by the setting policy.max_failed.

    That is the share, rounded down, or up to three rows where these are at most a quarter of all: two percent of ten
    rows would be none. A share of 0 allows none.
    """
    return 0 if share == 0 else max(int(share * asked), min(SMALL, asked // 4))


@dataclass(frozen=True)
class FailedRow:
    """A row without an answer: a line of artifacts/score/<arm>/failed.jsonl."""

    id: str
    """`Example.id`."""
    split: str
    reason: str
    file: str | None = None
    """Where the row stands, and in which line, from 1; None where that is not known."""
    line: int | None = None


@dataclass(frozen=True)
class RowPlace:
    """Where an example stands in the data: a line of artifacts/prepare/lines.jsonl."""

    id: str
    """`Example.id`."""
    file: str
    line: int
    """From 1."""


@dataclass(frozen=True)
class ServerRecord:
    """How a served model was asked for an arm's answers: artifacts/generate/<arm>/server.json."""

    asked: str
    """The model that was asked for."""
    answered_by: list[str] = field(default_factory=list)
    """Names of the models that the server says have answered; empty where it says none."""
    learnt: list[str] = field(default_factory=list)
    """What the server's own refusals have changed in the requests, a sentence each."""
    rename: dict[str, str] = field(default_factory=dict)
    drop: list[str] = field(default_factory=list)
    content: str = "text"
    system: str = "system"
    stream: bool = False
    """The last five: how requests differ from the common form, by settings and by what was learnt."""
