"""Every setting, its type and its range; composing conf/ and checking the result.

`compose()` turns conf/ and overrides into plain values, `Config` checks them, `load()` reads what DVC tracks
(params.yaml). A typo, a value out of range or two fields that contradict each other fail here, before any work.
"""

from whether.config.arms import BaselineConfig, CheckpointConfig, PromptConfig, TunerConfig, WarmStartConfig
from whether.config.checking import check
from whether.config.components import argument_types, arguments, bind, build, own_code_errors
from whether.config.composing import complete_params, compose, load, load_earlier, write_params
from whether.config.metric import MetricConfig
from whether.config.optimise import OptimiseConfig, ReflectConfig
from whether.config.packages import require_packages
from whether.config.retrain import GateConfig, RetrainConfig
from whether.config.search import Categorical, Range, SearchConfig
from whether.config.sections import (
    Arms,
    BenchmarkConfig,
    Config,
    ConstraintConfig,
    CurveConfig,
    ModelConfig,
    PolicyConfig,
    PricingConfig,
    RobustnessConfig,
    ServingConfig,
    TrackingConfig,
)
from whether.config.served import RequestConfig, ServedConfig, TokenPrice
from whether.config.task import DataConfig, SourceConfig, SplitConfig, TaskConfig
from whether.config.types import BASE, CONF, PARAMS, Component
from whether.config.yaml_lines import line_of

__all__ = [
    "BASE",
    "CONF",
    "PARAMS",
    "Arms",
    "BaselineConfig",
    "BenchmarkConfig",
    "Categorical",
    "CheckpointConfig",
    "Component",
    "Config",
    "ConstraintConfig",
    "CurveConfig",
    "DataConfig",
    "GateConfig",
    "MetricConfig",
    "ModelConfig",
    "OptimiseConfig",
    "PolicyConfig",
    "PricingConfig",
    "PromptConfig",
    "Range",
    "ReflectConfig",
    "RequestConfig",
    "RetrainConfig",
    "RobustnessConfig",
    "SearchConfig",
    "ServedConfig",
    "ServingConfig",
    "SourceConfig",
    "SplitConfig",
    "TaskConfig",
    "TokenPrice",
    "TrackingConfig",
    "TunerConfig",
    "WarmStartConfig",
    "argument_types",
    "arguments",
    "bind",
    "build",
    "check",
    "complete_params",
    "compose",
    "line_of",
    "load",
    "load_earlier",
    "own_code_errors",
    "require_packages",
    "write_params",
]
