"""An arm's test split as a task for stock lm-eval, so that anybody can reproduce its score with another tool.

From the repository's root (without `,peft=…` for base):

    lm_eval run --model hf \
        --model_args pretrained=artifacts/model,peft=artifacts/finetune/lora/checkpoint/adapter,dtype=bfloat16 \
        --include_path artifacts/score/lora-few_shot_unconstrained/lm_eval --tasks snips_lora-few_shot_unconstrained

`dtype` is `provenance.dtype` of verdict.json. Only arms whose answers are written freely have such a task: stock
lm-eval constrains none.

Outputs are read by `whether.outputs.kinds.lm_eval_match`, the reader of the score stage, so whether must be installed
next to lm-eval. One case differs: text
that holds the name of a special token of the model is plain text to us and the token itself to lm-eval.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from whether.outputs.kinds import lm_eval_match
from whether.records import Prediction, Task, to_builtins, write_text


def export(task: Task, arm: str, predictions: Sequence[Prediction], folder: Path, final_folder: Path) -> None:
    """Write <task>_<arm>.yaml and test.parquet (columns prompt, target, task) into `folder`.

    `final_folder` is where they will lie in the end, relative to the repository's root: the YAML names the rows there.
    Parquet, because a reader of JSON takes strings that look like dates for dates.
    """
    import pandas as pd

    folder.mkdir(parents=True, exist_ok=True)
    rows = pd.DataFrame(
        {
            "prompt": [line.prompt for line in predictions],
            "target": [line.target.strip() for line in predictions],
            "task": json.dumps(to_builtins(task)),
        },
        dtype="str",
    )
    rows.to_parquet(folder / "test.parquet", index=False)
    write_text(folder / f"{task.name}_{arm}.yaml", _task_yaml(task, arm, final_folder / "test.parquet"))


def _task_yaml(task: Task, arm: str, rows: Path) -> str:
    description: dict[str, Any] = {
        "task": f"{task.name}_{arm}",
        "dataset_path": "parquet",
        "dataset_kwargs": {"data_files": {"test": rows.as_posix()}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "prompt",
        "doc_to_target": "target",
        "num_fewshot": 0,
        "generation_kwargs": {"until": [], "do_sample": False, "max_gen_toks": task.max_new_tokens},
        "metadata": {"version": 1.0},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }
    text = yaml.safe_dump(description, sort_keys=False, allow_unicode=True, width=1000)
    return f"{text}process_results: !function {lm_eval_match.__module__}.{lm_eval_match.__name__}\n"
