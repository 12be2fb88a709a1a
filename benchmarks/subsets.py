"""Does a verdict from a part of the test split contradict the verdict from all of it?

    python benchmarks/subsets.py [--artifacts artifacts] [--repeats 500] [--json]

Needs a finished pipeline (`dvc repro`) whose test split is large. Random parts of several sizes are drawn from it, and
each is judged as if it were the whole: same arms, same costs, same choices on dev. An inconclusive verdict contradicts
nothing. --json prints one object: verdict (of all rows), rows, and contradictions, the highest share over the sizes.

For example, on 2,500 test rows of a free-text task:

    make run ARGS="task=negation task.max_rows=null task.splits.train=0.1 task.splits.dev=0.05 task.splits.test=0.85"
"""

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from whether.compare import measure
from whether.compare.compare import compare_representatives
from whether.compare.decide import ArmSummary, Decision
from whether.compare.results import Results, load_results
from whether.config import PolicyConfig, load
from whether.records import Verdict, read_json
from whether.stats.intervals import InferenceSettings

SIZES = (50, 100, 200, 400, 800, 1600)


class Finished(NamedTuple):
    """A finished pipeline, ready to be judged again."""

    study: Results
    candidates: list[ArmSummary]
    metric: str
    settings: InferenceSettings
    policy: PolicyConfig


def main() -> None:
    """Judge parts and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"))
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--repeats", type=int, default=500, help="parts of each size")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    options = parser.parse_args()
    finished = read(options.artifacts, options.params)
    rows = len(finished.study.examples)
    whole = judged_on(finished, range(rows))
    lines = []
    with ProcessPoolExecutor() as pool:
        for size in (size for size in SIZES if size <= 0.8 * rows):
            rng = np.random.default_rng((options.seed, size))
            parts = [rng.choice(rows, size, replace=False).tolist() for _ in range(options.repeats)]
            found = list(pool.map(partial(judged_on, finished), parts, chunksize=10))
            lines.append((size, *shares(found, whole)))
    if options.json:
        contradictions = max(line[-1] for line in lines)
        print(json.dumps({"verdict": whole.answer, "rows": rows, "contradictions": contradictions}))
        return
    print(f"All {rows:,} rows: {whole.answer}, {whole.recommended}. Parts of them, {options.repeats:,} of each size:\n")
    print("| test examples | inconclusive | the same answer | another answer |\n|---:|---:|---:|---:|")
    for size, *numbers in lines:
        print(f"| {size:,} | {' | '.join(f'{number:.1%}' for number in numbers)} |")


def read(artifacts: Path, params: Path) -> Finished:
    """Read the records of a pipeline and its verdict."""
    config, verdict = load(params), read_json(artifacts / "compare" / "verdict.json", Verdict)
    study = load_results(config, artifacts)
    candidates = [
        measure.candidate(study.arms[name], arm.metrics, arm.dev, verdict.metric) for name, arm in verdict.arms.items()
    ]
    settings = InferenceSettings(level=1 - config.policy.alpha, resamples=2_000, seed=config.seed)
    return Finished(study, candidates, verdict.metric, settings, config.policy)


def judged_on(finished: Finished, rows: Sequence[int]) -> Decision:
    """Return the decision on some rows of the test split."""
    study = finished.study
    part = replace(
        study,
        examples=[study.examples[row] for row in rows],
        arms={name: replace(arm, test=[arm.test[row] for row in rows]) for name, arm in study.arms.items()},
    )
    return compare_representatives(
        part, finished.candidates, finished.study.metrics[finished.metric], finished.settings, finished.policy
    ).decision


def shares(decisions: Sequence[Decision], whole: Decision) -> tuple[float, float, float]:
    """Return the shares of decisions that are inconclusive, the whole's and another one."""
    answers = [decision.answer for decision in decisions]
    open_, same = answers.count("inconclusive") / len(answers), answers.count(whole.answer) / len(answers)
    if whole.answer == "inconclusive":
        return open_, same, 0.0
    other = sum(answer not in ("inconclusive", whole.answer) for answer in answers)
    return open_, same, other / len(answers)


if __name__ == "__main__":
    main()
