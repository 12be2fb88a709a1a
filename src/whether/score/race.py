"""Which served arms dev shows to be worse than another one, so that their answers to test need not be paid for.

The arm that stands for its kind is the best one on dev. An arm that is shown to be worse there than another of its
kind, by intervals that hold for all pairs together, is not the best, so what it would answer to test decides nothing.
"""

from collections.abc import Mapping, Sequence

from whether.config import PolicyConfig
from whether.metrics.metric import Metric
from whether.outputs.kinds import output_of
from whether.outputs.output import answers_and_targets
from whether.records import Prediction, RacedArm
from whether.score.score import ScoredTask
from whether.stats.groups import clustered
from whether.stats.intervals import InferenceSettings, Interval, PairedDifference
from whether.stats.simultaneous import FamilyDifference, simultaneous_differences
from whether.stats.totals import estimate_difference


def race(
    arms: Mapping[str, Sequence[Prediction]], scored: ScoredTask, metric_name: str, policy: PolicyConfig, seed: int
) -> dict[str, RacedArm]:
    """Return the arms that are shown to be worse than another one, and why.

    Args:
        arms: Arm → its answers to dev, in the same order for each; arms of one kind.
        scored: The task, its metrics, and the examples with the groups that they belong to.
        metric_name: The primary one.
        policy: Family-wise error rate and resamples.
        seed: Of the resamples.
    """
    if not arms:
        return {}
    task, metric = scored.task, scored.metrics[metric_name]
    groups = [scored.examples[row.id].group for row in next(iter(arms.values()))]
    settings = clustered(groups, InferenceSettings(1 - policy.alpha, policy.resamples, seed))
    totals = {
        name: metric.table(task, *answers_and_targets(output_of(task), answers)) for name, answers in arms.items()
    }

    def difference(pair: tuple[str, str], level: float) -> PairedDifference:
        return estimate_difference(totals[pair[0]], totals[pair[1]], metric, settings._replace(level=level))

    names = sorted(arms, key=lambda name: -metric.estimate(totals[name]))
    pairs = [(a, b) for place, a in enumerate(names) for b in names[place + 1 :]]
    found = simultaneous_differences(
        {pair: difference(pair, settings.level) for pair in pairs},
        lambda pair, level: difference(pair, level).interval,
        settings.level,
    )
    lost: dict[str, RacedArm] = {}
    for (better, worse), row in found.items():  # the best arm's pairs come first
        if row.interval.low > 0 and worse not in lost:
            lost[worse] = _raced(better, metric, row)
    return lost


def _raced(better: str, metric: Metric, row: FamilyDifference) -> RacedArm:
    turned = Interval(-row.interval.high, -row.interval.low)
    return RacedArm(better, metric.name, -row.estimate.difference, turned.low, turned.high, row.estimate.n)
