"""The verdict as Markdown, for a pull request or a chat: the answer, why, and the leaderboard."""

from collections.abc import Sequence

from whether.metrics.catalogue import METRICS, catalogue
from whether.metrics.format import format_bounds, format_number, format_points, format_value
from whether.printing.markdown import escaped
from whether.records import APPROACH_NAMES, HEADLINES, Changes, Verdict

_COLUMNS = ("valid_rate", "latency_p95", "usd_per_1k", "usd_to_build", "retention_change")


def summary(verdict: Verdict, changes: Changes | None = None) -> str:
    """Return the summary, with what changed since an earlier verdict if that is given."""
    made = verdict.provenance
    commit = f"commit {made.commit[:7]}{' with changes' if made.dirty else ''}, " if made.commit else ""
    sections = [
        f"## {HEADLINES[verdict.answer]}",
        f"Task {escaped(verdict.title or verdict.task)}, model {escaped(verdict.model)},"
        f" {commit}{made.created_at[:10]}.",
        _list(verdict.reasons),
    ]
    if changes:
        sections += ["### Since the earlier verdict", _list(changes.reasons)]
        if changes.arms:
            sections.append(_changed(changes))
    sections += ["### Arms", _leaderboard(verdict)]
    return "\n\n".join(sections) + "\n"


def _list(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {escaped(sentence)}" for sentence in sentences)


def _leaderboard(verdict: Verdict) -> str:
    info = catalogue(verdict)[verdict.metric]
    heads = ["arm", "kind", escaped(info.label), "interval", *(METRICS[name].label for name in _COLUMNS)]
    rows = []
    for name in verdict.ranking():
        arm = verdict.arms[name]
        quality = arm.metrics[verdict.metric]
        label = f"**{name}**" if name == verdict.recommended_arm else name
        rows.append(
            [label, APPROACH_NAMES[arm.answer], format_number(info, quality.value),
             format_bounds(info, quality),
             *(format_value(metric, arm.metrics[metric].value) for metric in _COLUMNS)]
        )  # fmt: skip
    return table(heads, rows, left=2)


def _changed(changes: Changes) -> str:
    rows = [
        [row.arm, format_points(row.difference), f"{format_points(row.ci_low)} to {format_points(row.ci_high)}",
         f"{row.n:,}", row.conclusion.replace("_", " ")]
        for row in changes.arms
    ]  # fmt: skip
    return table(["arm", "now minus then", "interval", "examples in both", "shown"], rows, left=1)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    """Return a Markdown table whose first `left` columns are aligned to the left."""
    rule = ["---" if column < left else "---:" for column in range(len(heads))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rule, *rows))
