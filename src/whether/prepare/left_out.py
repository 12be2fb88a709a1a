"""Which rows are left out, and why: the profile's `left_out`, and what `prepare` says at its end."""

from collections.abc import Iterator, Sequence
from typing import Any

from whether.prepare.duplicates import Dropped
from whether.prepare.rows import Rejected, SourceRow

SHOWN = 3
"""Examples of each reason."""
TOO_MANY = 0.1
"""Share of the rows that is not left out without a warning."""
REASONS = {
    "bad": "set aside as bad (rejected.jsonl)",
    "duplicates": "equal inputs and equal answer as an earlier row",
    "other_split": "collected, and near-duplicates of a row in another split",
    "not_sampled": "beyond the sample of task.max_rows",
}
"""Key of the profile → reason in words."""


def describe_left_out(
    rejected: Sequence[Rejected],
    duplicates: Sequence[Dropped],
    other_split: Sequence[Dropped],
    not_sampled: Sequence[SourceRow],
) -> dict[str, Any]:
    """Return the profile's `left_out`: reason → `count` and the `first` of them."""
    dropped = {"duplicates": duplicates, "other_split": other_split}
    shown = {
        "bad": [{"line": bad.line, "reason": bad.reason} for bad in rejected[:SHOWN]],
        **{
            key: [_shown(one.row) | {"like_line": one.kept.line} for one in rows[:SHOWN]]
            for key, rows in dropped.items()
        },
        "not_sampled": [_shown(row) for row in not_sampled[:SHOWN]],
    }
    counts = {
        "bad": len(rejected),
        **{key: len(rows) for key, rows in dropped.items()},
        "not_sampled": len(not_sampled),
    }
    return {key: {"count": counts[key], "first": shown[key]} for key in REASONS}


def warnings(profile: dict[str, Any]) -> list[str]:
    """Return what a person has to see: that many rows were left out which nobody asked to leave out."""
    left_out, rows = profile["left_out"], profile["rows"]["read"] + profile["rows"]["collected"]
    counts = {key: left_out[key]["count"] for key in REASONS if key != "not_sampled"}
    lost = sum(counts.values())
    if lost <= TOO_MANY * rows:
        return []
    parts = "; ".join(f"{count:,} {REASONS[key]}" for key, count in counts.items() if count)
    return [f"{lost:,} of {rows:,} rows ({lost / rows:.0%}) were left out of the data: {parts}."]


def last_lines(profile: dict[str, Any]) -> Iterator[str]:
    """Yield what `prepare` says at its end, line by line."""
    rows = profile["rows"]
    splits = ", ".join(f"{name} {split['examples']:,}" for name, split in profile["splits"].items())
    collected = f" and {rows['collected']:,} collected" if rows["collected"] else ""
    yield f"{rows['read']:,} rows read{collected}, {rows['used']:,} used: {splits}"
    for key, reason in REASONS.items():
        found = profile["left_out"][key]
        if found["count"]:
            yield f"left out: {found['count']:,} {reason}; {_examples(found['first'])}"
    conflicts, near = profile["conflicts"], profile["near_duplicates"]
    if conflicts["count"]:
        first = conflicts["first"][0]
        answers = ", ".join(f"line {one['line']}: {one['target']:.40}" for one in first["answers"])
        yield (
            f"label noise: {conflicts['count']:,} inputs have different answers, such as {_text(first['inputs'])}"
            f" ({answers}); no model can get more than {conflicts['ceiling']:.1%} of the rows right"
        )
    if near["rows"]:
        yield (
            f"near-duplicates: {near['rows']:,} rows in {near['groups']:,} groups (task.near_duplicate="
            f"{near['threshold']:g}), the largest of {near['largest']:,} rows; {near['different_answers']:,} groups"
            " have different answers; each group is in one split, and intervals count groups"
        )
    for template in near["templates"]:
        yield (
            f"template: {template['rows']:,} rows such as {_text(template['first'][0])} resemble each other at"
            f" task.near_duplicate={near['threshold']:g}, too many to be the same text; only those that are more than"
            f" {template['threshold']:.1%} similar stay together"
        )


def _shown(row: SourceRow) -> dict[str, Any]:
    return {"line": row.line, "inputs": row.example.inputs, "target": row.example.target}


def _examples(first: Sequence[dict[str, Any]]) -> str:
    """Return the rows in `first` in a few words."""

    def one(row: dict[str, Any]) -> str:
        if "reason" in row:
            return f"line {row['line']}: {row['reason']}"
        like = f", like line {row['like_line']}" if "like_line" in row else ""
        return f"line {row['line']}{like}: {_text(row['inputs'])}"

    return f"such as {'; '.join(map(one, first))}"


def _text(inputs: dict[str, str]) -> str:
    text = " | ".join(inputs.values())
    return repr(text if len(text) <= 60 else f"{text[:59]}…")
