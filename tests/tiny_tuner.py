"""Settings that train the tiny model in a second."""

from typing import Any

from whether.config import TunerConfig


def tuner(**changes: Any) -> TunerConfig:
    """Settings under which the tiny model learns within 18 steps, whatever it learns; dropout makes every random number
    count."""
    adapter = {"_target_": "whether.finetune.adapters.lora", "r": 4, "alpha": 8, "dropout": 0.1}
    settings = {
        "adapter": adapter, "learning_rate": 2e-2, "epochs": 3, "batch_size": 4, "warmup_ratio": 0.1,
        "weight_decay": 0.01, "max_grad_norm": 1.0, "evaluations_per_epoch": 2, "patience": 6, "max_length": 128,
        "retry_collapsed": False,
    }  # fmt: skip
    return TunerConfig(**(settings | changes))
