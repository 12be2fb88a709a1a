"""The front matter of a model card: what the hub and other tools read, as huggingface_hub writes it."""

import re
from typing import Any

from whether.export.facts import CardData
from whether.metrics.catalogue import METRICS, catalogue, quality_names
from whether.records import Measurement

_SPDX = re.compile(r"[A-Za-z0-9.+-]+")


def model_name(facts: CardData) -> str:
    """Return a name for the merged model: base, task and checkpoint."""
    return f"{facts.checkpoint.model}-{facts.task.name}-{facts.name}"


def technique(facts: CardData) -> str:
    """Return the name of the function that adapted the model, such as `lora`."""
    adapter = (facts.checkpoint.tuner or {}).get("adapter", {})
    return str(adapter.get("_target_", facts.name)).rpartition(".")[2]


def metadata(facts: CardData) -> Any:
    """Return the `ModelCardData`."""
    from huggingface_hub import ModelCardData

    results = _results(facts)
    licence = facts.config.model.licence
    spdx = bool(_SPDX.fullmatch(licence)) and licence != "unknown"
    return ModelCardData(
        license=licence.lower() if spdx else "other" if licence != "unknown" else "unknown",
        license_name=None if spdx or licence == "unknown" else re.sub(r"[^a-z0-9.]+", "-", licence.lower()),
        base_model=facts.source.get("repo", facts.checkpoint.model),
        base_model_relation="finetune",
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=list(dict.fromkeys(["whether", technique(facts), facts.task.name])),
        datasets=facts.config.task.source.hub,
        model_name=model_name(facts),
        eval_results=results or None,
    )


def _results(facts: CardData) -> list[Any]:
    """Return the results of this checkpoint's arms on test, and of the retention suite; what was measured only."""
    if facts.verdict is None:
        return []
    arms = {name: arm for name, arm in facts.verdict.arms.items() if arm.checkpoint == facts.name}
    rows = [
        _result(facts, metric, arm.metrics[metric], prompt=arm.prompt)
        for arm in arms.values()
        for metric in (*quality_names(facts.verdict), "valid_rate")
        if metric in arm.metrics and arm.metrics[metric].value is not None
    ]
    retention = next((arm.metrics["retention"] for arm in arms.values() if "retention" in arm.metrics), None)
    if retention is not None and retention.value is not None:
        rows.append(_result(facts, "retention", retention))
    return rows


def _result(facts: CardData, metric: str, found: Measurement, prompt: str | None = None) -> Any:
    from huggingface_hub import EvalResult

    source, config = facts.config.task.source, facts.config
    arguments = {"prompt": prompt, "ci_low": found.ci_low, "ci_high": found.ci_high, "n": found.n}
    shared: dict[str, Any] = {
        "metric_type": "accuracy" if metric == "retention" else metric,
        "metric_value": found.value,
        "metric_name": (catalogue(facts.verdict) if facts.verdict else METRICS)[metric].label
        + (f" with the prompt {prompt}" if prompt else ""),
        "metric_args": {key: value for key, value in arguments.items() if value is not None},
    }
    if metric == "retention":
        name = config.benchmark.name
        return EvalResult(task_type="multiple-choice", dataset_type=name, dataset_name=f"{name} (retention)", **shared)
    return EvalResult(
        task_type="text-classification" if facts.task.labels else "text-generation",
        dataset_type=source.hub or facts.task.name,
        dataset_name=facts.task.name,
        dataset_config=source.name,
        dataset_revision=source.revision,
        dataset_split="test",
        **shared,
    )
