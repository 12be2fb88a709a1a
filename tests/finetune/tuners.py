"""The tuners of conf/checkpoint, as their files configure them, at sizes for a tiny model."""

from typing import Any

from whether.records import Task

TASK = Task(
    name="any", output="text", metric="exact_match", instruction="", input_template="", labels=[], schema=None,
    answer_pattern=None, max_new_tokens=6,
)  # fmt: skip
"""For tuners to which the task makes no difference."""

TUNERS: dict[str, dict[str, Any]] = {
    "lora": {"_target_": "whether.finetune.adapters.lora", "r": 4, "alpha": 8},
    "rslora": {"_target_": "whether.finetune.adapters.lora", "r": 4, "alpha": 4, "rank_stabilised": True},
    "qlora": {"_target_": "whether.finetune.adapters.qlora", "r": 4, "alpha": 8},
    "dora": {"_target_": "whether.finetune.adapters.lora", "r": 4, "alpha": 8, "decomposed": True},
    "vera": {"_target_": "whether.finetune.adapters.vera", "r": 16},
    "ia3": {"_target_": "whether.finetune.adapters.ia3"},
    "prompt_tuning": {"_target_": "whether.finetune.adapters.prompt_tuning", "virtual_tokens": 5},
    "prefix_tuning": {"_target_": "whether.finetune.adapters.prefix_tuning", "virtual_tokens": 5},
    "full": {"_target_": "whether.finetune.adapters.full"},
    "linear_probe": {"_target_": "whether.finetune.adapters.linear_probe"},
}
