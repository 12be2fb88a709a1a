"""What is known in a retraining run, gathered for the triggers."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from whether.bundle.bundle import Bundle, load_bundle
from whether.bundle.champion import read_champion_or_none
from whether.bundle.process import BundleProcess
from whether.compare.provenance import model_hash
from whether.config import Config
from whether.prepare.collected import collected_file
from whether.prepare.labels import LabelSpelling, one_spelling, respelled
from whether.prepare.rows import example_reader, read_examples, read_inputs
from whether.records import ARTIFACTS, Champion, CollectedRow, Example, Finding, RetrainingRun
from whether.retrain.triggers import Evidence, ObservedRow, evaluate


class RunContext(NamedTuple):
    """Which retraining run this is, and those before it."""

    number: int
    now: datetime
    runs: Sequence[RetrainingRun]
    """Before this one."""


def evaluate_triggers(
    config: Config, folder: Path, context: RunContext, rows: Sequence[CollectedRow], process: BundleProcess
) -> list[Finding]:
    """Evaluate every trigger of the configuration; what fired in a run that then failed still fires."""
    champion = read_champion_or_none(folder)
    bundle = load_bundle(folder / "bundles" / champion.champion) if champion else None
    read = example_reader(config.task, collected_file(config.task))
    labelled = {row.id: row for row in rows if row.labelled_in_run is not None and row.destination != "duplicate"}

    def scores(keys: Sequence[str]) -> list[float]:
        examples = [read(labelled[key].row) for key in keys]
        return [line.score for line in process.predict(champion.champion, examples)] if champion and examples else []

    def measured(requests: int) -> dict[str, float]:
        examples = [read(row.row) for row in labelled.values()][-requests:] or (bundle.pool if bundle else [])
        return process.measure(champion.champion, examples, requests) if champion else {}

    evidence = Evidence(
        number=context.number,
        now=context.now,
        config=config,
        items=observed_rows(config, rows),
        runs=context.runs,
        champion=champion,
        bundle=bundle.record if bundle else None,
        scores=scores,
        measured=measured,
        model_hash=lambda: _model_hash(config, bundle),
    )
    return [carry_over_fired(evaluate(evidence, name), context.runs) for name in config.retrain.triggers]


def carry_over_fired(finding: Finding, runs: Sequence[RetrainingRun]) -> Finding:
    """Let a trigger fire again that fired in one of the last runs, if all runs since then failed.

    Evidence may decrease from one run to the next, and the challenger that it asked for was never made. A trigger that
    compares states decides by the present state only.
    """
    if finding.fired or finding.state is not None:
        return finding
    for run in takewhile(lambda run: run.outcome == "failed", reversed(runs)):
        if any(found.fired and found.trigger == finding.trigger for found in run.findings):
            reason = f"fired in run {run.number}, which failed; {finding.reason}"
            return replace(finding, fired=True, reason=reason)
    return finding


def champion_scores(
    config: Config, champion: Champion | None, rows: Sequence[CollectedRow], process: BundleProcess
) -> list[float]:
    """Return the champion's score on each labelled row; an empty list without a champion."""
    if champion is None or not rows:
        return []
    read = example_reader(config.task, collected_file(config.task))
    return [line.score for line in process.predict(champion.champion, [read(row.row) for row in rows])]


def _model_hash(config: Config, bundle: Bundle | None) -> str:
    """Return the hash of the base in artifacts/model, or a text where the settings name another model."""
    if bundle and not bundle.served and config.model.name != bundle.record.model:
        return f"another model: {config.model.name}"
    return model_hash(ARTIFACTS / "model")


def observed_rows(config: Config, rows: Sequence[CollectedRow]) -> list[ObservedRow]:
    """Return every row as triggers see it, as often as it came: first those that the task started with."""
    source = read_examples(config.task).rows
    source = respelled(source, one_spelling(config.task, source))
    spelling = LabelSpelling(config.task, sorted({row.example.target for row in source}))
    found = [_observed(row.example, 0, 0, labelled=True) for row in source]
    read = example_reader(replace(config.task, labels=None, definitions={}), Path("collected"))
    for row in rows:
        labelled = row.labelled_in_run is not None
        example = read(row.row) if labelled else Example(row.id, read_inputs(config.task, row.row), "")
        example = replace(example, target=spelling.known(example.target))
        item = _observed(example, row.run, row.labelled_in_run or 0, labelled=labelled)
        found.append(replace(item, is_duplicate=row.destination == "duplicate"))
    return found


def _observed(example: Example, run: int, labelled_in_run: int, *, labelled: bool) -> ObservedRow:
    text = " ".join(example.inputs.values())
    return ObservedRow(text, example.target if labelled else None, run, labelled_in_run, example.id)
