"""What is known on a night, gathered for the triggers."""

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
from whether.prepare.rows import example_reader, read_examples, read_inputs
from whether.records import ARTIFACTS, Champion, CollectedRow, Example, Finding, RetrainingRun
from whether.retrain.triggers import Evidence, ObservedRow, evaluate


class RunContext(NamedTuple):
    """Which night it is, and what was before."""

    number: int
    now: datetime
    nights: Sequence[RetrainingRun]


def evaluate_triggers(
    config: Config, folder: Path, moment: RunContext, rows: Sequence[CollectedRow], asker: BundleProcess
) -> list[Finding]:
    """Ask every trigger of the configuration; what fired in a night that then failed still fires."""
    champion = read_champion_or_none(folder)
    bundle = load_bundle(folder / "bundles" / champion.champion) if champion else None
    read = example_reader(config.task, collected_file(config.task))
    labelled = {row.id: row for row in rows if row.labelled is not None and row.destination != "repeat"}

    def scores(keys: Sequence[str]) -> list[float]:
        examples = [read(labelled[key].row) for key in keys]
        return [line.score for line in asker.ask(champion.champion, examples)] if champion and examples else []

    def measured(requests: int) -> dict[str, float]:
        examples = [read(row.row) for row in labelled.values()][-requests:] or (bundle.pool if bundle else [])
        return asker.measure(champion.champion, examples, requests) if champion else {}

    evidence = Evidence(
        number=moment.number,
        now=moment.now,
        config=config,
        items=observed_rows(config, rows),
        nights=moment.nights,
        champion=champion,
        bundle=bundle.record if bundle else None,
        scores=scores,
        measured=measured,
        model_hash=lambda: _model_hash(config, bundle),
    )
    return [carry_over_fired(evaluate(evidence, name), moment.nights) for name in config.retrain.triggers]


def carry_over_fired(finding: Finding, nights: Sequence[RetrainingRun]) -> Finding:
    """Let a trigger that fired in one of the last nights, all of which failed since, fire again.

    Evidence may ebb from one night to the next, and the challenger that it asked for was never made. What compares
    states is told by the present one.
    """
    if finding.fired or finding.state is not None:
        return finding
    for night in takewhile(lambda night: night.outcome == "failed", reversed(nights)):
        if any(found.fired and found.trigger == finding.trigger for found in night.findings):
            reason = f"fired in night {night.number}, which failed; {finding.reason}"
            return replace(finding, fired=True, reason=reason)
    return finding


def champion_scores(
    config: Config, champion: Champion | None, rows: Sequence[CollectedRow], asker: BundleProcess
) -> list[float]:
    """Return the champion's score on each labelled row; none without a champion."""
    if champion is None or not rows:
        return []
    read = example_reader(config.task, collected_file(config.task))
    return [line.score for line in asker.ask(champion.champion, [read(row.row) for row in rows])]


def _model_hash(config: Config, bundle: Bundle | None) -> str:
    """Return the hash of the base as it is, or that the settings name another one than artifacts/model holds."""
    if bundle and not bundle.served and config.model.name != bundle.record.model:
        return f"another model: {config.model.name}"
    return model_hash(ARTIFACTS / "model")


def observed_rows(config: Config, rows: Sequence[CollectedRow]) -> list[ObservedRow]:
    """Return every row as triggers see it, as often as it came: first those that the task began with."""
    found = [_item(row.example, 0, 0, labelled=True) for row in read_examples(config.task).rows]
    read = example_reader(replace(config.task, labels=None, definitions={}), Path("collected"))
    for row in rows:
        labelled = row.labelled is not None
        example = read(row.row) if labelled else Example(row.id, read_inputs(config.task, row.row), "")
        item = _item(example, row.night, row.labelled or 0, labelled=labelled)
        found.append(replace(item, is_repeat=row.destination == "repeat"))
    return found


def _item(example: Example, night: int, labelled_in: int, *, labelled: bool) -> ObservedRow:
    text = " ".join(example.inputs.values())
    return ObservedRow(text, example.target if labelled else None, night, labelled_in, example.id)
