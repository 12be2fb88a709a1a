"""How often do the triggers of retraining raise a false alarm, and how soon do they find a drift?

    python benchmarks/drift.py [--series 60] [--runs 500] [--rows 12] [--json]
    python benchmarks/drift.py --quick                         12 series of 200 runs, a few minutes
    python benchmarks/drift.py --trigger meaning_drift         this one alone: it is not among the defaults
    python benchmarks/drift.py --only "three in ten rows reworded"      one of them

Real rows (SNIPS), the triggers as they are shipped, with their thresholds. A series is --runs retraining runs with
--rows new rows each; it starts with 300 rows and a champion that answers 95% of them correctly. Without drift all rows
are drawn from the same ones in any order; so are those of the series in which every ninth run makes a challenger, as
100 new labels do, and keeps the champion. A drift starts in run 31. No model is used: the champion's answers are drawn.
--json prints one object: false_alarm_rate (share of series without drift in which any trigger ever fires; the larger of
the two), median_delay_runs (the longest median over the drifts), quiet (of the series without drift: rate, low and high
of its 95% interval, alarms as [run, trigger]), and delays (of each drift).
"""

import argparse
import json
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import yaml
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from whether.config import Config, check, compose
from whether.prompt import similarity
from whether.prompt.similarity import sentence_encoder as encoder
from whether.records import BundleRecord, Champion, RetrainingRun
from whether.retrain.triggers import Evidence, ObservedRow, evaluate
from whether.stats.intervals import rate_interval

SHIPPED = ("input_drift", "length_drift", "vocabulary_drift", "label_drift", "quality_drop")
START, CHANGE, LATEST = 300, 31, 60
"""Rows before the first run; run of the drift; runs after which a drift counts as not found."""
NEW = ("rate_book", "search_creative_work")
BEGIN = datetime(2026, 1, 1, 2, tzinfo=UTC)

Row = tuple[str, str]
"""Text and label."""
Draw = Callable[[Any, int, int], list[Row]]
"""(random numbers, run, count) → rows."""


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=60)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--rows", type=int, default=12, help="new rows a run, all labelled")
    parser.add_argument("--quick", action="store_true", help="12 series of 200 runs")
    parser.add_argument(
        "--trigger", action="append", choices=(*SHIPPED, "meaning_drift"),
        help="this one instead of the defaults; may be given again. meaning_drift needs the extra embeddings",
    )  # fmt: skip
    parser.add_argument("--only", action="append", choices=DRIFTS, help="this one; may be given again")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    options = parser.parse_args()
    if options.quick:
        options.series, options.runs = 12, 200
    triggers = tuple(options.trigger or SHIPPED)
    drawn = partial(first_alarm, triggers=triggers, count=options.rows)
    # One thread per process: matrices of 300 rows are too small for several threads, which would wait for each other.
    with ProcessPoolExecutor(initializer=threadpool_limits, initargs=(1,)) as pool:
        found = {
            drift: list(
                tqdm(
                    pool.map(
                        partial(drawn, drift, options.runs if drift in QUIET else CHANGE + LATEST),
                        range(options.series),
                    ),
                    total=options.series,
                    desc=drift,
                    unit="series",
                )
            )
            for drift in (options.only or DRIFTS)
        }
    quiet = {name: Alarms.of(alarms) for name, alarms in found.items() if name in QUIET}
    delays = {drift: Delay.of(alarms) for drift, alarms in found.items() if drift not in QUIET}
    if options.json:
        print(
            json.dumps(
                {
                    "series": options.series,
                    "runs": options.runs,
                    "false_alarm_rate": max((alarms.rate for alarms in quiet.values()), default=None),
                    "median_delay_runs": max((delay.median for delay in delays.values()), default=None),
                    "quiet": {name: asdict(alarms) for name, alarms in quiet.items()},
                    "delays": {drift: asdict(delay) for drift, delay in delays.items()},
                }
            )
        )
        return
    for name, alarms in quiet.items():
        condition = name.removeprefix("none")
        print(
            f"{options.series} series of {options.runs} runs without drift, {options.rows} rows each{condition}:"
            f" {len(alarms.alarms)} with any false alarm, {alarms.rate:.1%} (95%: {alarms.low:.1%} to"
            f" {alarms.high:.1%})" + "".join(f"; {trigger} in run {run}" for run, trigger in alarms.alarms)
        )
    if delays:
        print(
            f"\n| drift, from run {CHANGE} | median delay, runs | 90% found within | found in {LATEST} |"
            " first trigger |\n|---|---:|---:|---:|---|"
        )
    for drift, delay in delays.items():
        late = f"{delay.ninth:g}" if delay.ninth <= LATEST else f"more than {LATEST}"
        print(f"| {drift} | {delay.median:g} | {late} | {delay.found:.0%} | {delay.first} |")


@dataclass(frozen=True)
class Alarms:
    """Series without drift in which a trigger fired."""

    rate: float
    low: float
    """95% interval."""
    high: float
    alarms: list[tuple[int, str]]
    """Run and trigger of each."""

    @classmethod
    def of(cls, first: Sequence[tuple[int, str] | None]) -> "Alarms":
        """Summarize the first alarms of series."""
        alarms = sorted(alarm for alarm in first if alarm is not None)
        interval = rate_interval(len(alarms), len(first), 0.95)
        return cls(len(alarms) / len(first), interval.low, interval.high, alarms)


@dataclass(frozen=True)
class Delay:
    """How soon series find a drift: runs from the first with drift to the one with the alarm, both counted."""

    median: float
    ninth: int
    """Runs within which nine in ten series found it; LATEST + 1 where fewer did."""
    found: float
    """Share of series that found it."""
    first: str
    """The trigger that most often was the first to fire."""

    @classmethod
    def of(cls, alarms: Sequence[tuple[int, str] | None]) -> "Delay":
        """Summarize the first alarms of series, without false ones before the drift."""
        late = [alarm for alarm in alarms if alarm is None or alarm[0] >= CHANGE]
        delays = sorted(LATEST + 1 if alarm is None else alarm[0] - CHANGE + 1 for alarm in late)
        names = Counter(alarm[1] for alarm in late if alarm)
        return cls(
            median=median(delays),
            ninth=delays[ceil(0.9 * len(delays)) - 1],
            found=sum(names.values()) / len(late),
            first=names.most_common(1)[0][0] if names else "-",
        )


@cache
def settings(triggers: tuple[str, ...]) -> Config:
    """The configuration as it is shipped, with these triggers; texts are encoded once."""
    similarity.sentence_encoder = cache(lambda needed_for: Remembering(encoder(needed_for)))
    return check(yaml.safe_load(compose([f"trigger=[{','.join(triggers)}]"])))


class Remembering:
    """A sentence encoder that encodes each text once: a series needs the same rows in hundreds of runs."""

    def __init__(self, inner: Any):
        self._inner, self._known = inner, dict[str, Any]()

    def encode(self, texts: list[str], **options: Any) -> Any:
        """Return the vectors."""
        new = sorted(set(texts) - self._known.keys())
        if new:
            self._known |= zip(new, self._inner.encode(new, **options), strict=True)
        return np.stack([self._known[text] for text in texts])


@cache
def rows() -> list[Row]:
    """Real rows."""
    lines = Path("data/bigbench/intent_recognition.jsonl").read_text(encoding="utf-8").splitlines()
    return [(row["input"], row["target"]) for row in map(json.loads, lines)]


def any_rows(random: Any, count: int, among: Sequence[Row] = ()) -> list[Row]:
    """Draw rows."""
    pool = among or rows()
    return [pool[index] for index in random.integers(len(pool), size=count)]


def reworded(random: Any, run: int, count: int, share: float = 1.0) -> list[Row]:
    """Some rows are worded differently from the change on."""
    return [
        (f"hey bot pls {text.lower()} thx", label) if run >= CHANGE and random.random() < share else (text, label)
        for text, label in any_rows(random, count)
    ]


def new_intents(random: Any, run: int, count: int) -> list[Row]:
    """Two of seven intents come only from the change on."""
    if run >= CHANGE:
        return any_rows(random, count)
    return any_rows(random, count, [row for row in rows() if row[1] not in NEW])


def unchanged(random: Any, _run: int, count: int) -> list[Row]:
    """Nothing changes."""
    return any_rows(random, count)


class Story(NamedTuple):
    """What happens in a series."""

    seed: tuple[int, int]
    """Of its random numbers, together with the number of the series; fixed, so that a name can change."""
    draw: Draw = unchanged
    accuracy: float = 0.95
    """The champion's, from the change on."""
    every: int = 0
    """Runs from one that makes a challenger, and keeps the champion, to the next; 0: none does."""


NINTH = 9
"""How often 12 new labels a run make a challenger by the trigger new_labels, which is not evaluated here."""
QUIET = {
    "none": Story((4, 432)),
    "none, a challenger every ninth run": Story((36, 3416), every=NINTH),
}
DRIFTS: dict[str, Story] = QUIET | {
    "all rows reworded": Story((17, 1696), reworded),
    "three in ten rows reworded": Story((26, 2525), partial(reworded, share=0.3)),
    "two new intents of seven": Story((24, 2335), new_intents),
    "champion right 80% instead of 95%": Story((33, 2794), accuracy=0.80),
    "the same, a challenger every ninth run": Story((40, 3759), accuracy=0.80, every=NINTH),
    "champion right 60% instead of 95%": Story((33, 2792), accuracy=0.60),
}


def first_alarm(drift: str, runs: int, series: int, *, triggers: tuple[str, ...], count: int) -> tuple[int, str] | None:
    """Return run and trigger of a series' first alarm, None where none fires."""
    seed, draw, accuracy, every = DRIFTS[drift]
    config, random = replace(settings(triggers), seed=series), np.random.default_rng((series, *seed))
    items = as_items(draw(random, 0, START), 0)
    past: list[RetrainingRun] = []
    answered: dict[str, float] = {}
    for number in range(1, runs + 1):
        items += as_items(draw(random, number, count), number)
        right = 0.95 if number < CHANGE else accuracy
        fresh = items[-count:]
        answered.update(zip((item.key for item in fresh), (random.random(count) < right).astype(float), strict=True))
        evidence = Evidence(
            number=number,
            now=BEGIN + timedelta(days=number),
            config=config,
            items=items,
            runs=past,
            champion=Champion("c", None, BEGIN.isoformat(), 0, ""),
            bundle=champion(),
            scores=lambda keys: [float(answered[key]) for key in keys],
            measured=lambda requests: {},  # noqa: ARG005
            model_hash=lambda: "m",
        )
        findings = [evaluate(evidence, name) for name in triggers]
        fired = [finding.trigger for finding in findings if finding.fired]
        if fired:
            return number, fired[0]
        time = (BEGIN + timedelta(days=number)).isoformat()
        made = every > 0 and number % every == 0
        past.append(
            RetrainingRun(
                number, time, time, "kept" if made else "no_trigger", "", findings=findings, challenger_trained=made
            )
        )
    return None


def as_items(drawn: Sequence[Row], run: int) -> list[ObservedRow]:
    """Return rows as triggers see them; a row that is drawn twice is two."""
    return [
        ObservedRow(text, label, run, run, f"{(7919 * (1000 * run + place)) % 1_000_003:07d}")
        for place, (text, label) in enumerate(drawn)
    ]


@cache
def champion() -> BundleRecord:
    """A champion that answered 95% of 200 test rows."""
    return BundleRecord(
        "c", "lora-zero_shot", "lora", "zero_shot", "snips", "fine_tune", "m", "m", {}, {}, "", 0, 0.95, "accuracy",
        {"n_test": 200.0, "mean_score": 0.95}, None, 300, {},
    )  # fmt: skip


if __name__ == "__main__":
    main()
