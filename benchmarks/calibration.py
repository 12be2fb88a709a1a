"""How often the verdict is wrong: thousands of simulated studies whose truth is known, through the verdict's own code.

    python benchmarks/calibration.py [--quick] [--json]

In each study arms answer the same examples, with correlated errors, at accuracies that are chosen; dev selects, test
decides, as in the pipeline. Six questions, a table each (they make up docs/statistics.md, "How often it is wrong"):

1. how often is a difference claimed where there is none, or the wrong way round?
2. how often do 95% intervals hold the truth?
3. how often is an arm called "not worse" that is worse by the margin?
4. how likely is a difference of a given size to be found?
5. how often does the number of further labels that is asked for lead to an answer?
6. how often do intervals hold the truth of tuning, where training runs differ?

--quick takes fewer studies (within five minutes on two cores). --json prints one object: familywise_error and
false_noninferiority (the highest of their table's lines), coverage (of the line that is farthest from 95%), each over
all sizes, more_labels_success, over all studies that asked for labels, and runs_coverage, of three and more training
runs.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from scipy.stats import norm

from whether.compare.decide import APPROACHES, ArmSummary, Decision, Selection, comparisons, decide, pairs, select
from whether.compare.sample_size import labels_needed
from whether.config import MetricConfig, PolicyConfig
from whether.metrics.metric import metric_of
from whether.records import Comparison
from whether.stats.inference import mean_interval, score_difference
from whether.stats.intervals import Codes, Floats, InferenceSettings, Interval, PairedDifference, rate_interval
from whether.stats.simultaneous import FamilyDifference, holm_differences, simultaneous_differences
from whether.stats.totals import estimate_difference, estimate_interval

SIZES = (50, 100, 200, 500, 2000)
"""Numbers of test examples."""
BASELINE = 0.15
"""Accuracy of always giving the most frequent answer."""
LABELS = np.array([0.3, 0.2, 0.15, 0.12, 0.1, 0.08, 0.05])
"""How frequent the labels of the simulated task are."""
MACRO_F1 = metric_of(
    "macro_f1", MetricConfig(**yaml.safe_load((Path(__file__).parents[1] / "conf/metric/macro_f1.yaml").read_text()))
)
RESAMPLES = 2_000
"""Of the bootstrap: a fifth of the policy's, to simulate more studies."""
CHUNK = 25
"""Studies that a process takes at once."""


class Study(NamedTuple):
    """Arms on the same test examples."""

    candidates: list[ArmSummary]
    scores: dict[str, Floats]
    """Arm → right (1) or wrong (0) on each test example."""


class Judged(NamedTuple):
    """What the verdict makes of a study."""

    selection: Selection
    differences: dict[tuple[str, str], PairedDifference]
    """Between representatives."""
    decision: Decision
    family: list[Comparison]


Cell = tuple[Any, ...]
"""One row of a table: what is simulated there."""
Simulation = Callable[[Cell, np.random.Generator], Sequence[float]]
"""A study → numbers, of which a table shows the means; NaN where a number does not apply."""


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a fifth of the studies")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    answers = [
        question(options.seed + number, studies // 5 if options.quick else studies)
        for number, (question, studies) in enumerate(QUESTIONS)
    ]
    if options.json:
        print(json.dumps({key: value for _, numbers in answers for key, value in numbers.items()}))
    else:
        print("\n\n".join(text for text, _ in answers))


# The studies.


def simulated(rates: Sequence[float], n: int, correlation: float, rng: np.random.Generator) -> Study:
    """Return a study of arms that are right on a share `rates` of all examples; dev is as large as test.

    An example has one difficulty that all arms share and one for each arm, both normal, in the proportion
    `correlation`; an arm is right where their sum is below its threshold.
    """
    shared = rng.standard_normal((1, 2 * n)) * correlation**0.5
    own = rng.standard_normal((len(rates), 2 * n)) * (1 - correlation) ** 0.5
    right = (shared + own < norm.ppf(rates)[:, None]).astype(np.float64)
    names = [f"arm-{number}" for number in range(len(rates))]
    costs = rng.lognormal(0, 1, len(rates))
    candidates = [
        ArmSummary(name, APPROACHES[number % 3], float(right[number, :n].mean()), 100, float(costs[number]), {})
        for number, name in enumerate(names)
    ]
    return Study(candidates, dict(zip(names, right[:, n:], strict=True)))


def judge(study: Study, policy: PolicyConfig) -> Judged:
    """Take the steps of `whether.compare.compare.reach_verdict`."""
    selection = select(study.candidates, policy.constraints)
    names = [candidate.name for candidate in selection.representatives.values()]
    found = together(study, names)
    family = comparisons(found, "accuracy", "decision", policy)
    lows = {name: rate_interval(study.scores[name].sum(), len(study.scores[name]), 0.95).low for name in names}
    estimates = {pair: row.estimate for pair, row in found.items()}
    return Judged(selection, estimates, decide(selection, family, lows, BASELINE, policy), family)


def differences(study: Study, names: Sequence[tuple[str, str]]) -> dict[tuple[str, str], PairedDifference]:
    """Return the paired difference of each pair."""
    return {(a, b): score_difference(study.scores[a], study.scores[b], InferenceSettings()) for a, b in names}


def together(study: Study, names: Sequence[str]) -> dict[tuple[str, str], FamilyDifference]:
    """Return every pair of some arms, with intervals and p-values that hold for all of them together."""

    def at_level(pair: tuple[str, str], level: float) -> Interval:
        a, b = (study.scores[name] for name in pair)
        return score_difference(a, b, InferenceSettings(level)).interval

    return simultaneous_differences(differences(study, pairs(names)), at_level, 0.95)


# The six questions.


def familywise_error(seed: int, studies: int) -> tuple[str, dict[str, float]]:
    """False claims of a difference: all arms are equal, or half of them are 8 points worse."""
    settings = [
        (truth, arms) for truth, arms in product(("equal", "two levels"), (2, 3, 6, 12)) if arms > 2 or truth == "equal"
    ]
    rows = simulate(_false_claims, [(*setting, n) for setting in settings for n in SIZES], studies, seed)
    among = ("representatives", "all other pairs")
    text = table(
        "False claims of a difference: share of studies with any",
        ("truth", "arms", "among", *(f"n = {n:,}" for n in SIZES)),
        [
            (*setting, family, *map(percent, line))
            for setting, lines in zip(settings, rows.reshape(len(settings), len(SIZES), 2), strict=True)
            for family, line in zip(among, lines.T, strict=True)
            if not np.isnan(line).all()
        ],
        studies,
    )
    return text, {"familywise_error": highest(rows, len(settings))}


def _false_claims(cell: Cell, rng: np.random.Generator) -> Sequence[float]:
    truth, arms, n = cell
    policy, best = PolicyConfig(), rng.uniform(0.6, 0.97)
    rates = [best if truth == "equal" or number % 2 == 0 else best - 0.08 for number in range(arms)]
    study = simulated(rates, n, rng.uniform(0, 0.9), rng)
    judged, true = judge(study, policy), dict(zip(study.scores, rates, strict=True))
    others = differences(study, [pair for pair in pairs(list(study.scores)) if pair not in judged.differences])

    def false(row: Comparison) -> bool:
        gap = true[row.arm_a] - true[row.arm_b]
        return (row.conclusion == "a_better" and gap <= 0) or (row.conclusion == "b_better" and gap >= 0)

    explored = comparisons(holm_differences(others), "accuracy", "exploratory", policy)
    return any(map(false, judged.family)), any(map(false, explored)) if explored else np.nan


def coverage(seed: int, studies: int) -> tuple[str, dict[str, float]]:
    """Share of 95% intervals that hold the truth."""
    methods = {
        "accuracy (Wilson)": _rate_holds,
        "difference of accuracies (Tango)": _difference_holds,
        "all differences of three accuracies (Tango, joint)": _family_holds,
        "difference of accuracies in groups": _grouped_difference_holds,
        "graded score (BCa)": _graded_holds,
        "difference of graded scores (BCa)": _graded_difference_holds,
        "macro-F1 (BCa)": _macro_f1_holds,
        "difference of macro-F1 (BCa)": _macro_f1_difference_holds,
    }
    lines = []
    for name, holds in methods.items():
        slow = "BCa" in name  # the bootstrap: half as many studies, and not of the largest size
        cells = [(name, n) for n in (SIZES[:-1] if slow else SIZES)]
        rows = simulate(holds, cells, studies // 2 if slow else studies, seed)[:, 0]
        lines.append(np.append(rows, [np.nan] * (len(SIZES) - len(rows))))
    text = table(
        f"Coverage of 95% intervals, the bootstrap's in {studies // 2:,} studies",
        ("interval", *(f"n = {n:,}" for n in SIZES)),
        [(name, *map(percent, line)) for name, line in zip(methods, lines, strict=True)],
        studies,
    )
    pooled = np.nanmean(lines, axis=1)
    return text, {"coverage": float(pooled[np.abs(pooled - 0.95).argmax()])}


def _two_rates(n: int, rng: np.random.Generator) -> tuple[list[float], Study]:
    best = rng.uniform(0.5, 0.97)
    rates = [best, best - rng.uniform(0, 0.2)]
    return rates, simulated(rates, n, rng.uniform(0, 0.9), rng)


def _rate_holds(cell: Cell, rng: np.random.Generator) -> Sequence[float]:
    rates, study = _two_rates(cell[1], rng)
    return (_holds(mean_interval(study.scores["arm-0"], InferenceSettings()), rates[0]),)


def _difference_holds(cell: Cell, rng: np.random.Generator) -> Sequence[float]:
    rates, study = _two_rates(cell[1], rng)
    (found,) = differences(study, [("arm-0", "arm-1")]).values()
    return (_holds(found.interval, rates[0] - rates[1]),)


def _family_holds(cell: Cell, rng: np.random.Generator) -> Sequence[float]:
    best = rng.uniform(0.5, 0.97)
    rates = [best, best - rng.uniform(0, 0.2), best - rng.uniform(0, 0.2)]
    study = simulated(rates, cell[1], rng.uniform(0, 0.9), rng)
    true, found = dict(zip(study.scores, rates, strict=True)), together(study, list(study.scores))
    return (min(_holds(row.interval, true[a] - true[b]) for (a, b), row in found.items()),)


def _grouped_difference_holds(cell: Cell, rng: np.random.Generator) -> Sequence[float]:
    """Rows of groups of one to seven, a part of whose difficulty is the group's."""
    n = cell[1]
    clusters = np.repeat(np.arange(n), rng.integers(1, 8, n))[:n]
    best, within, between = rng.uniform(0.5, 0.97), rng.uniform(0, 0.8), rng.uniform(0, 0.8)
    rates = [best, best - rng.uniform(0, 0.2)]
    group, own = rng.standard_normal((3, n))[:, clusters], rng.standard_normal((3, n))
    difficulty = within**0.5 * group + (1 - within) ** 0.5 * own
    noise = between**0.5 * difficulty[0] + (1 - between) ** 0.5 * difficulty[1:]
    right = (noise < norm.ppf(rates)[:, None]).astype(np.float64)
    found = score_difference(right[0], right[1], InferenceSettings(resamples=100, clusters=clusters))
    return (_holds(found.interval, rates[0] - rates[1]),)


def _graded(n: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return the true means of two arms and their scores in [0, 1], shape (2, n), many at the ends."""
    centre, spread, shared = rng.uniform(0.4, 0.8, 2), 0.35, rng.uniform(0, 0.9)
    noise = rng.standard_normal((1, n)) * shared**0.5 + rng.standard_normal((2, n)) * (1 - shared) ** 0.5
    low, high = -centre / spread, (1 - centre) / spread
    mean = centre * (norm.cdf(high) - norm.cdf(low)) + spread * (norm.pdf(low) - norm.pdf(high)) + norm.sf(high)
    return mean, np.clip(centre[:, None] + spread * noise, 0, 1)


def _graded_holds(cell: Cell, rng: np.random.Generator) -> Sequence[float]:
    mean, scores = _graded(cell[1], rng)
    return (_holds(mean_interval(scores[0], InferenceSettings(resamples=RESAMPLES)), mean[0]),)


def _graded_difference_holds(cell: Cell, rng: np.random.Generator) -> Sequence[float]:
    mean, scores = _graded(cell[1], rng)
    found = score_difference(scores[0], scores[1], InferenceSettings(resamples=RESAMPLES))
    return (_holds(found.interval, mean[0] - mean[1]),)


def _answers(n: int, rng: np.random.Generator) -> tuple[list[float], Codes, Codes]:
    """Return the true macro-F1 of two arms, their answers of shape (2, n) and the targets; errors fall on any label."""
    rates, study = _two_rates(n, rng)
    targets = rng.choice(len(LABELS), n, p=LABELS)
    wrong = (targets + rng.integers(1, len(LABELS), (2, n))) % len(LABELS)
    answers = np.where(np.stack(list(study.scores.values())) > 0, targets, wrong)
    true = []
    for rate in rates:
        answered = LABELS * rate + (1 - LABELS) * (1 - rate) / (len(LABELS) - 1)
        true.append(float((2 * LABELS * rate / (LABELS + answered)).mean()))
    return true, answers, targets


def _totals(answers: Codes, targets: Codes) -> Floats:
    """Return the totals of macro-F1, shape (..., n, 3 * labels), of codes of labels, shape (..., n)."""
    labels = np.arange(len(LABELS))
    answered, asked = (
        answers[..., None] == labels,
        np.broadcast_to(targets[:, None] == labels, (*answers.shape, len(labels))),
    )
    return np.concatenate([answered & asked, answered, asked], axis=-1).astype(np.float64)


def _macro_f1_holds(cell: Cell, rng: np.random.Generator) -> Sequence[float]:
    true, answers, targets = _answers(cell[1], rng)
    return (
        _holds(
            estimate_interval(_totals(answers[0], targets), MACRO_F1, InferenceSettings(resamples=RESAMPLES)), true[0]
        ),
    )


def _macro_f1_difference_holds(cell: Cell, rng: np.random.Generator) -> Sequence[float]:
    true, answers, targets = _answers(cell[1], rng)
    a, b = _totals(answers, targets)
    found = estimate_difference(a, b, MACRO_F1, InferenceSettings(resamples=RESAMPLES))
    return (_holds(found.interval, true[0] - true[1]),)


def _holds(interval: tuple[float, float] | None, truth: float) -> float:
    assert interval is not None
    return interval[0] <= truth <= interval[1]


def false_noninferiority(seed: int, studies: int) -> tuple[str, dict[str, float]]:
    """Share of studies that call an arm acceptable which is worse than the best one by the margin."""
    losses = {"one of two": (0, 1), "one of three": (0, 0, 1), "two of three": (0, 1, 1)}
    settings = list(product(losses, (0.03, 0.1)))
    cells = [(losses[worse], margin, n) for worse, margin in settings for n in SIZES]
    rows = simulate(_false_acceptance, cells, studies, seed)
    text = table(
        "Worse by the margin, and called not worse: share of studies",
        ("worse by the margin", "margin", "called", *(f"n = {n:,}" for n in SIZES)),
        [
            (worse, f"{100 * margin:.0f} points", claim, *map(percent, line))
            for (worse, margin), lines in zip(settings, rows.reshape(len(settings), len(SIZES), 2), strict=True)
            for claim, line in zip(("not worse", "the answer"), lines.T, strict=True)
        ],
        studies,
    )
    return text, {"false_noninferiority": highest(rows, len(settings))}


def _false_acceptance(cell: Cell, rng: np.random.Generator) -> Sequence[float]:
    worse, margin, n = cell
    best = rng.uniform(0.6, 0.98)
    study = simulated([best - margin * is_worse for is_worse in worse], n, rng.uniform(0, 0.95), rng)
    decision = judge(study, PolicyConfig(margin=margin)).decision
    bad = [name for name, is_worse in zip(study.scores, worse, strict=True) if is_worse]
    recommended = decision.answer != "inconclusive" and decision.recommended in bad
    return any(decision.status[name] == "acceptable" for name in bad), recommended


def power(seed: int, studies: int) -> tuple[str, dict[str, float]]:
    """How likely a difference of two arms is to be claimed."""
    gaps = (0.0, 0.02, 0.04, 0.06, 0.1, 0.15, 0.2)
    rows = simulate(_claims, list(product(SIZES, gaps)), studies, seed)[:, 0]
    text = table(
        "Power: share of studies that find the better of two arms (the better one has 90%)",
        ("test examples", *(f"{gap * 100:.0f} points" for gap in gaps)),
        [(n, *map(percent, line)) for n, line in zip(SIZES, rows.reshape(len(SIZES), -1), strict=True)],
        studies,
    )
    return text, {}


def _claims(cell: Cell, rng: np.random.Generator) -> Sequence[float]:
    n, gap = cell
    # Equivalence within the margin is not asked here, so the margin is as small as it can be.
    judged = judge(simulated([0.9, 0.9 - gap], n, 0.5, rng), PolicyConfig(margin=1e-9))
    return (judged.family[0].conclusion == "a_better",)


def more_labels(seed: int, studies: int) -> tuple[str, dict[str, float]]:
    """How often the labels that an inconclusive verdict asks for lead to an answer."""
    cells = list(product((2, 3), SIZES[:-1]))
    outcomes = simulate(_continued, cells, studies, seed, mean=False)
    lines, every = [], []
    for (arms, n), rows in zip(cells, outcomes, strict=True):
        inconclusive = rows[~np.isnan(rows[:, 0])]
        asked = inconclusive[~np.isnan(inconclusive[:, 1])]
        every.append(asked)
        lines.append(
            (
                arms, n, percent(len(inconclusive) / len(rows)), percent(1 - len(asked) / len(inconclusive)),
                f"{np.median(asked[:, 1]):,.0f}", percent(asked[:, 2].mean()),
            )
        )  # fmt: skip
    text = table(
        "Further labels: share of continuations with an answer after as many as were asked for",
        (
            "arms",
            "test examples",
            "inconclusive",
            "asked for none",
            "labels asked for, median",
            "then answered",
        ),
        lines,
        studies,
    )
    return text, {"more_labels_success": float(np.concatenate(every)[:, 2].mean())}


def _continued(cell: Cell, rng: np.random.Generator) -> Sequence[float]:
    """Return whether a study is inconclusive (NaN: it is not), the labels asked for, whether they led to an answer."""
    arms, n = cell
    rates = np.clip(rng.uniform(0.6, 0.95) + rng.normal(0, 0.06, arms), 0.3, 0.99)
    correlation = rng.uniform(0.1, 0.9)
    study, policy = simulated(rates, n, correlation, rng), PolicyConfig()
    judged = judge(study, policy)
    if judged.decision.outcome != "undecided":
        return np.nan, np.nan, np.nan
    representatives = list(judged.selection.representatives.values())
    further = labels_needed(judged.decision.blocking, representatives, judged.differences, policy, 0)
    if further is None:
        return 1, np.nan, np.nan
    more = simulated(rates, further, correlation, rng)
    scores = {name: np.concatenate([values, more.scores[name]]) for name, values in study.scores.items()}
    return 1, further, judge(Study(study.candidates, scores), policy).decision.answer != "inconclusive"


def training_runs(seed: int, studies: int) -> tuple[str, dict[str, float]]:
    """Share of intervals that hold the truth of tuning, not only that of the runs at hand."""
    settings = [(runs, points) for points in (0, 1, 3) for runs in (1, 2, 3, 5)]
    rows = simulate(_runs_hold, [(*setting, n) for setting in settings for n in SIZES], studies, seed)
    lines = rows.reshape(len(settings), len(SIZES), 2)
    text = table(
        "Training runs: coverage of 95% intervals of (tuned - prompted) for the mean of all training runs",
        ("runs differ by (standard deviation)", "training runs", "of", *(f"n = {n:,}" for n in SIZES)),
        [
            (f"{points} points", runs, metric, *map(percent, line))
            for (runs, points), metrics in zip(settings, lines, strict=True)
            for metric, line in zip(("accuracy", "macro-F1"), metrics.T, strict=True)
            if not np.isnan(line).all()
        ],
        studies,
    )
    pooled = np.array([np.nanmean(line, 0) for (runs, _), line in zip(settings, lines, strict=True) if runs > 2])
    return text, {"runs_coverage": float(pooled.flat[np.nanargmax(np.abs(pooled - 0.95))])}


def _runs_hold(cell: Cell, rng: np.random.Generator) -> Sequence[float]:
    """A tuned arm whose runs differ in all examples alike, and in each; and a prompt that is never trained."""
    runs, points, n = cell
    rate = rng.uniform(0.6, 0.95)
    gap, between = rng.uniform(-0.1, 0.04), rng.uniform(0.1, 0.9)
    # A shift of the threshold by this much moves the accuracy by a point.
    shift = 0.01 * points / norm.pdf(norm.ppf(rate))
    own = (1 - between) ** 0.5 * rng.standard_normal((runs + 1, n))
    total = between**0.5 * rng.standard_normal(n) + own
    total[:runs] += shift * rng.standard_normal((runs, 1))
    cuts = np.array([norm.ppf(rate) * (1 + shift**2) ** 0.5] * runs + [norm.ppf(rate + gap)])
    is_right = total < cuts[:, None]
    truth, settings = -gap, InferenceSettings(resamples=100)
    tuned, prompted = is_right[:runs].astype(np.float64), is_right[runs].astype(np.float64)
    found = score_difference(tuned if runs > 1 else tuned[0], prompted, settings)
    macro: float = np.nan
    if runs > 1 and n <= 200:  # the jackknife leaves out an example at a time
        targets: Codes = rng.integers(0, 2, n)
        answers = np.where(is_right, targets, 1 - targets)  # macro-F1 of two equal labels is the accuracy, at large n
        totals = _totals(answers, targets)
        difference = estimate_difference(totals[:runs], totals[runs], MACRO_F1, settings)
        macro = _holds(difference.interval, truth)
    return _holds(found.interval, truth), macro


QUESTIONS: list[tuple[Callable[[int, int], tuple[str, dict[str, float]]], int]] = [
    (familywise_error, 2_000), (coverage, 4_000), (false_noninferiority, 4_000), (power, 2_000), (more_labels, 2_000),
    (training_runs, 2_000),
]  # fmt: skip
"""Each question, and in how many studies a cell it is asked."""


# Running and printing.


def simulate(simulation: Simulation, cells: Sequence[Cell], studies: int, seed: int, mean: bool = True) -> Any:
    """Return the mean of each of a simulation's numbers for each cell, shape (cells, numbers); or all of them."""
    chunks = [
        (simulation, cell, min(CHUNK, studies - start), (seed, index, start))
        for index, cell in enumerate(cells)
        for start in range(0, studies, CHUNK)
    ]
    with ProcessPoolExecutor() as pool:
        found = list(pool.map(_run, *zip(*chunks, strict=True)))
    each = len(chunks) // len(cells)
    rows = [np.concatenate(found[index * each : (index + 1) * each]) for index in range(len(cells))]
    print(f"{simulation.__name__.strip('_')}: {len(cells)} × {studies:,} studies", file=sys.stderr, flush=True)
    return np.array([row.mean(0) for row in rows]) if mean else rows


def _run(simulation: Simulation, cell: Cell, studies: int, seed: tuple[int, ...]) -> Floats:
    rng = np.random.default_rng(seed)
    return np.array([simulation(cell, rng) for _ in range(studies)], dtype=np.float64)


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[Any]], studies: int) -> str:
    """Return a Markdown table under its title."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    body = "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)
    return f"{title} ({studies:,} studies a number).\n\n{body}"


def highest(rows: Any, lines: int) -> float:
    """Return the highest of the means over sizes of a table's lines; rows are line by line, a size each."""
    return float(np.nanmax(rows.reshape(lines, len(SIZES), -1).mean(1)))


def percent(share: float) -> str:
    """Return a share as a percentage, nothing for none."""
    return "" if np.isnan(share) else f"{share:.1%}"


if __name__ == "__main__":
    main()
