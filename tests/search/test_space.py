"""A search's settings: what is wrong in them is said before anything is trained."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_tuner import tuner

from whether.config import CONF, Categorical, Range, SearchConfig, TunerConfig, check, compose
from whether.errors import ConfigError
from whether.search.space import Space

ROOT = Path(__file__).parents[2]


def space(tuned: TunerConfig | None = None, **parameters: Any) -> Space:
    return Space(tuned or tuner(), SearchConfig(parameters).parameters)


@pytest.mark.heavy
def test_the_default_space_fits_the_default_checkpoint() -> None:
    config = check(yaml.safe_load(compose(conf=ROOT / CONF)))
    own = config.checkpoints["lora"].tuner
    assert own is not None
    found = Space(own, config.search.parameters)
    assert found.own == {"learning_rate": own.learning_rate, "epochs": own.epochs, "adapter.r": own.adapter["r"]}
    assert str(found.parameters["adapter.r"]) == "4 to 64, log"


def test_settings_go_where_they_belong() -> None:
    found = space(learning_rate={"low": 1e-4, "high": 1e-2, "log": True}, adapter={"r": {"low": 2, "high": 8}})
    changed = found.tuner({"learning_rate": 0.003, "adapter.r": 5})
    assert (changed.learning_rate, changed.adapter["r"], changed.adapter["alpha"]) == (0.003, 5, 8)
    assert tuner().adapter["r"] == 4, "the tuner itself stays as it is"
    assert found.rounded({"learning_rate": 0.00123456, "adapter.r": 7}) == {"learning_rate": 0.00123, "adapter.r": 7}
    assert found.rounded({"learning_rate": 0.0099999, "adapter.r": 7})["learning_rate"] == 0.01
    assert found.own is None, "a learning rate of 0.02 is not in the space"
    assert found.size == float("inf")
    assert space(adapter={"r": {"low": 2, "high": 8}}, epochs={"choices": [1, 2]}).size == 14


def test_null_takes_a_setting_out() -> None:
    found = SearchConfig({"epochs": None, "learning_rate": {"low": 1, "high": 2, "choices": None}}).parameters
    assert found == {"learning_rate": Range(1.0, 2.0)}
    assert SearchConfig({"epochs": {"choices": [1], "low": None}}).parameters == {"epochs": Categorical((1,))}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"learning_rat": {"low": 1e-4, "high": 1e-2}},
            "space.learning_rat: the tuner has no such setting; did you mean",
        ),
        (
            {"adapter": {"rank": {"choices": [4]}}},
            r"space.adapter.rank: the tuner has no such .*Known: .*adapter\.r.*leave it out: space\.adapter\.rank=null",
        ),
        ({"learning_rate": {"low": 0.1, "high": 2}}, "learning_rate: Input should be less than or equal to 1, and 2.0"),
        ({"epochs": {"low": 1.5, "high": 3}}, "epochs: is a whole number, and low and high are 1.5 and 3.0"),
        ({"epochs": {"choices": [1, "two"]}}, "epochs: Input should be a valid integer.*'two' is among the values"),
        ({"adapter": {"r": {"low": 0, "high": 8}}}, "adapter.r: Input should be greater than or equal to 1, and is 0"),
        (
            {"adapter": {"target_modules": {"low": 0, "high": 8}}},
            "target_modules: a setting that is not a number has choices",
        ),
    ],
)
def test_what_does_not_fit_the_tuner_is_named(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        space(**parameters)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "search.space.learning_rate.low=1",
            "search.*: space.learning_rate: low must be below high, and they are 1 and",
        ),
        ("search.space.learning_rate.low=0", "space.learning_rate: with log, low must be positive, and it is 0"),
        ("search.space.learning_rate.low=tiny", "space.learning_rate.low must be a number, and is 'tiny'"),
        ("search.space.epochs.choices=[]", r"space.epochs.choices must be a list of numbers or words, and is \[\]"),
        ("search.space.epochs.choices=[1,1]", "space.epochs.choices holds a value twice"),
        ("+search.space.epochs.low=1", "space.epochs: choices go without low"),
        ("+search.space.learning_rate.hihg=1", "space.learning_rate.hihg: no such setting; did you mean 'high'"),
        ("search.space.epochs=3", r"space.epochs must be \{low, high, log\} or \{choices\}, and is 3"),
        ("search.space={learning_rate:null,epochs:null,adapter:null}", "space names no setting"),
        ("search.pruner=hyperbandit", "search.pruner.*'median' or 'none', and is 'hyperbandit'"),
        ("search.trials=0", "search.trials .*conf/search/default.yaml"),
    ],
)
def test_what_is_wrong_in_conf_is_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compose([override], ROOT / CONF)
