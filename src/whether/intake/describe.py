"""What a night took in, in words, and what of it a person should look at."""

from pathlib import Path

from whether.intake.inbox import IntakePlan
from whether.records import IntakeCounts


def describe_intake(taken: IntakeCounts) -> str:
    """Return what was taken in, as a clause."""
    if not taken.files:
        return "the inbox is empty" + (f"; {taken.waiting} rows wait for more of their label" if taken.waiting else "")
    said = (
        f"{taken.files} files: {taken.labelled} labelled rows, {taken.unlabelled} unlabelled, {taken.duplicates} known"
        f" already, {taken.quarantined} set aside"
        + (f", {taken.left_out} beyond the sample that is kept for drift" if taken.left_out else "")
    )
    joined = f"; new labels: {', '.join(taken.new_labels)}" if taken.new_labels else ""
    return said + joined + (f"; {taken.waiting} rows wait for more of their label" if taken.waiting else "")


def all_rows_rejected(taken: IntakeCounts) -> bool:
    """Return whether rows came and none of them could be used."""
    return bool(taken.quarantined) and not (taken.labelled or taken.unlabelled or taken.duplicates)


def attention_messages(intake: IntakePlan, folder: Path, task: str) -> list[str]:
    """Return what a person should look at, a sentence each."""
    taken, said = intake.taken, []
    if intake.quarantined:
        first = intake.quarantined[0]
        said.append(
            f"{taken.quarantined} rows are in {folder / 'quarantine'}/, such as {first.file}, line {first.line}:"
            f" {first.reason}"
        )
    if taken.unknown_labels:
        counts = ", ".join(f"{label!r} ({count} rows)" for label, count in taken.unknown_labels.items())
        said.append(
            f"labels that task.labels does not list: {counts}. Add them to conf/task/{task}.yaml and put the rows into"
            " the inbox again, or correct them"
        )
    return said
