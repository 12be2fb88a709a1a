"""What to try next, and when to give up, by optuna: pure functions of the trials so far and the seed.

The study is built again from the records each time. So there is nothing but the records that a kill could lose or
leave half-written, and the same trials and seed lead to the same next one, whether or not the search was interrupted.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from whether.config import Categorical, SearchConfig
from whether.errors import MissingPackageError
from whether.records import TrialRecord
from whether.search.space import Settings, Space

_GUIDED_DRAWS, _RANDOM_DRAWS = 10, 1000
"""Proposals of the estimator, and then random ones, among which one that was not tried before is looked for."""
_ENOUGH_TO_RANK = 4
"""Trials from which on the importance of settings is estimated."""


def optuna() -> Any:
    """Return the package. Raises MissingPackageError."""
    try:
        import optuna
    except ModuleNotFoundError:
        raise MissingPackageError("optuna", "search", "a search of tuner settings") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def suggest(trials: Sequence[TrialRecord], space: Space, config: SearchConfig, seed: int) -> Settings | None:
    """Return the settings of the next trial, none that was tried before; None if there are no others.

    The first are the tuner's own, where the space holds them: what a search finds is then never worse than they are.
    Then come random ones, and after `startup_trials` those that a tree-structured Parzen estimator expects most of
    (Bergstra et al. 2011).
    """
    if not trials and space.own:
        return space.own
    tried = [trial.settings for trial in trials]
    if len(tried) == space.size:
        return None
    draws = _is_random(trials, space, config, seed)
    return next((settings for settings in draws if settings not in tried), None)


def _is_random(trials: Sequence[TrialRecord], space: Space, config: SearchConfig, seed: int) -> Iterator[Settings]:
    """Yield proposals, the best one first. Each depends on the seed, the trials and its number alone."""

    def own_seed(draw: int) -> int:
        return int.from_bytes(hashlib.sha256(f"{seed} {len(trials)} {draw}".encode()).digest()[:4])

    distributions = _distributions(space)
    for draw in range(_GUIDED_DRAWS):
        yield space.rounded(_study(trials, space, config, own_seed(draw)).ask(distributions).params)
    study = _study([], space, config, 0)
    study.sampler = optuna().samplers.RandomSampler(own_seed(_GUIDED_DRAWS))
    for _ in range(_RANDOM_DRAWS):
        yield space.rounded(study.ask(distributions).params)


def should_prune(values: Sequence[float], trials: Sequence[TrialRecord], space: Space, config: SearchConfig) -> bool:
    """Return whether a trial with these values, one for each evaluation so far, is to end here."""
    study = _study(trials, space, config, 0)
    return bool(study.pruner.prune(study, _frozen("RUNNING", values, trials[0].settings, space)) if trials else False)


def importance(trials: Sequence[TrialRecord], space: Space, config: SearchConfig, seed: int) -> dict[str, float]:
    """Return each setting's share of the differences between complete trials (fANOVA, Hutter et al. 2014)."""
    complete = [trial.value for trial in trials if trial.state == "complete"]
    if len(complete) < _ENOUGH_TO_RANK or len(set(complete)) < 2:
        return {}
    package = optuna()
    found = package.importance.get_param_importances(
        _study(trials, space, config, 0), evaluator=package.importance.FanovaImportanceEvaluator(seed=seed)
    )
    return {name: round(float(found[name]), 3) for name in space.parameters if name in found}


def _study(trials: Sequence[TrialRecord], space: Space, config: SearchConfig, seed: int) -> Any:
    package = optuna()
    sampler = package.samplers.TPESampler(seed=seed, n_startup_trials=config.startup_trials)
    pruner = package.pruners.NopPruner()
    if config.pruner == "median":
        pruner = package.pruners.MedianPruner(config.startup_trials, config.warmup_evaluations + 1)
    study = package.create_study(direction="maximize", sampler=sampler, pruner=pruner)
    states = {"complete": "COMPLETE", "pruned": "PRUNED", "diverged": "PRUNED"}
    for trial in trials:
        # A diverged trial counts as one that was pruned before its first evaluation: worse than any other.
        values = trial.values if trial.state != "diverged" else []
        study.add_trial(_frozen(states[trial.state], values, trial.settings, space, trial.value))
    return study


def _frozen(state: str, values: Sequence[float], settings: Settings, space: Space, value: float | None = None) -> Any:
    trial = optuna().trial
    return trial.create_trial(
        state=trial.TrialState[state],
        value=value if state == "COMPLETE" else None,
        params=settings,
        distributions=_distributions(space),
        intermediate_values=dict(enumerate(values, 1)),
    )


def _distributions(space: Space) -> dict[str, Any]:
    package = optuna().distributions
    found: dict[str, Any] = {}
    for name, parameter in space.parameters.items():
        if isinstance(parameter, Categorical):
            found[name] = package.CategoricalDistribution(parameter.choices)
        elif space.is_integer(name):
            found[name] = package.IntDistribution(int(parameter.low), int(parameter.high), log=parameter.log)
        else:
            found[name] = package.FloatDistribution(parameter.low, parameter.high, log=parameter.log)
    return found
