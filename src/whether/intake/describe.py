"""What a retraining run took in, in words, and what of it someone should look at."""

from pathlib import Path

from whether.intake.inbox import IntakePlan
from whether.records import IntakeCounts
from whether.sources.tables import NAMES, PACKED_NAMES


def describe_intake(counts: IntakeCounts) -> str:
    """Return what was taken in, as a clause."""
    pending = (
        f"; {counts.below_min_label_rows} rows wait for more of their label" if counts.below_min_label_rows else ""
    )
    if not counts.files:
        return f"the inbox is empty{pending}"
    text = (
        f"{counts.files} files: {counts.labelled} labelled rows, {counts.unlabelled} unlabelled,"
        f" {counts.duplicates} known already, {counts.quarantined} set aside"
        + (f", {counts.sampled_out} beyond the sample that is kept for drift" if counts.sampled_out else "")
    )
    joined = f"; new labels: {', '.join(counts.new_labels)}" if counts.new_labels else ""
    return text + joined + pending


def all_rows_rejected(counts: IntakeCounts) -> bool:
    """Return whether rows came and none of them could be used."""
    return bool(counts.quarantined) and not (counts.labelled or counts.unlabelled or counts.duplicates)


def attention_messages(plan: IntakePlan, folder: Path, task: str) -> list[str]:
    """Return what someone should look at, a sentence each."""
    counts, messages = plan.counts, []
    if plan.quarantined:
        first = plan.quarantined[0]
        messages.append(
            f"{counts.quarantined} rows are in {folder / 'quarantine'}/, such as {first.file}, line {first.line}:"
            f" {first.reason}"
        )
    if plan.left:
        names = ", ".join(entry.name for entry in plan.left[:5]) + (" and others" if len(plan.left) > 5 else "")
        messages.append(
            f"not taken out of the inbox: {names}. Files are taken in whose names end in {', '.join(NAMES)}, also with"
            f" {', '.join(PACKED_NAMES)}"
        )
    if counts.unknown_labels:
        unknown = ", ".join(f"{label!r} ({count} rows)" for label, count in counts.unknown_labels.items())
        messages.append(
            f"labels that task.labels does not list: {unknown}. Add them to conf/task/{task}.yaml and put the rows into"
            " the inbox again, or correct them"
        )
    return messages
