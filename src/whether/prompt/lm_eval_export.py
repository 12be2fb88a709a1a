"""An arm's test split as a task for stock lm-eval, so that anybody can reproduce its score with another tool.

From the repository's root (without `,peft=…` for base):

    lm_eval run --model hf \
        --model_args pretrained=artifacts/model,peft=artifacts/finetune/lora/adapter,dtype=float32 \
        --include_path artifacts/prompt/lora-knn/lm_eval --tasks snips_lora-knn

Labels and texts are read by lm-eval's own filters and metric. JSON is compared by `json_exact_match` below, so for json
tasks whether must be installed beside lm-eval. One case differs: text that holds the name of a special token of the
model is plain text to us and the token itself to lm-eval.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from whether.prompt.parse import canonical_json, ignores_case, json_reader, label_pattern, text_pattern
from whether.records import Prediction, Task, write_text


def export(task: Task, arm: str, predictions: Sequence[Prediction], folder: Path, final_folder: Path) -> None:
    """Write <task>_<arm>.yaml and test.parquet (columns prompt, target, schema) into `folder`.

    `final_folder` is where they will lie in the end, relative to the repository's root: the YAML names the rows there.
    Parquet, because a reader of JSON takes strings that look like dates for dates.
    """
    import pandas as pd

    folder.mkdir(parents=True, exist_ok=True)
    rows = pd.DataFrame(
        {
            "prompt": [line.prompt for line in predictions],
            "target": [line.target.strip() for line in predictions],
            "schema": json.dumps(task.schema),
        },
        dtype="str",
    )
    rows.to_parquet(folder / "test.parquet", index=False)
    write_text(folder / f"{task.name}_{arm}.yaml", _task_yaml(task, arm, final_folder / "test.parquet"))


def json_exact_match(doc: Mapping[str, str], results: Sequence[str]) -> dict[str, float]:
    """Score one output of a json task as `whether.prompt.parse` does; lm-eval calls it (`process_results`)."""
    answer = json_reader(json.loads(doc["schema"]))(results[0])
    return {"exact_match": float(answer == canonical_json(json.loads(doc["target"])))}


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
        "metric_list": [_metric(task)],
        "metadata": {"version": 1.0},
    }
    if task.output != "json":
        pattern = label_pattern(task.labels) if task.output == "label" else text_pattern(task.answer_pattern)
        steps = [{"function": "regex", "regex_pattern": pattern}, {"function": "take_first"}]
        description["filter_list"] = [{"name": "answer", "filter": steps}]
    text = yaml.safe_dump(description, sort_keys=False, allow_unicode=True, width=1000)
    scorer = f"process_results: !function {__name__}.{json_exact_match.__name__}\n" if task.output == "json" else ""
    return text + scorer


def _metric(task: Task) -> dict[str, Any]:
    metric = {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}
    return metric | ({"ignore_case": True} if task.output == "label" and ignores_case(task.labels) else {})
