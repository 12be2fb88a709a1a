"""Records under the names that MLflow shows: dotted settings, metrics in groups; no secrets."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from whether.printing.secrets import without_credentials
from whether.records import Measurement

SHOWN_AS = {
    "input_tokens": "cost/input_tokens",
    "computed_tokens": "cost/computed_tokens",
    "output_tokens": "cost/output_tokens",
    "usd_per_1k": "cost/usd_per_1k",
    "usd_per_month": "cost/usd_per_month",
    "usd_to_build": "cost/usd_to_build",
    "usd_to_retrain": "cost/usd_to_retrain",
    "seconds_to_build": "cost/seconds_to_build",
    "labels_to_build": "cost/labels_to_build",
    "seconds_per_request": "latency/seconds_per_request",
    "retrieval_recall": "test/retrieval_recall",
    "sensitivity_spread": "robustness/sensitivity_spread",
    "sensitivity_worst": "robustness/sensitivity_worst",
    "sensitivity_deviation": "robustness/sensitivity_deviation",
    "consistency": "robustness/consistency",
    "majority_score": "robustness/majority_score",
    "answer_entropy": "robustness/answer_entropy",
    "batch_invariance": "robustness/batch_invariance",
    "latency_p50": "latency/p50",
    "latency_p95": "latency/p95",
    "retention": "retention/mean",
    "retention_change": "retention/change",
    "flexibility": "retention/another_task",
    "unseen_labels": "retention/unseen_labels",
    "perplexity": "retention/perplexity",
    "tokens_per_second": "serving/tokens_per_second",
    "peak_memory": "serving/peak_memory",
    "disk": "serving/disk",
}
"""Metric of a verdict → its name in MLflow, where a prefix makes a group of charts; any other is `test/<name>`."""


def storable(text: str) -> str:
    """Return text that every database of MLflow keeps: a NUL, which PostgreSQL refuses, is shown as ␀.

    Half of a surrogate pair, which UTF-8 cannot write, becomes U+FFFD. A model may write either.
    """
    return text.replace("\0", "␀").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return settings by dotted path as text; lists, and mappings with keys that no path can hold, as JSON."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and value and all(re.fullmatch(r"\w+", str(name)) for name in value):
            flat |= flatten(value, f"{path}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            flat[path] = without_credentials(text)
    return flat


def measured(metrics: Mapping[str, Measurement]) -> dict[str, float]:
    """Return a verdict's measurements by MLflow name, with their intervals; what was not measured is left out."""
    shown: dict[str, float | None] = {}
    for metric, found in metrics.items():
        name = SHOWN_AS.get(metric, f"test/{metric}")
        shown |= {name: found.value, f"{name}_ci_low": found.ci_low, f"{name}_ci_high": found.ci_high}
    return {name: value for name, value in shown.items() if value is not None and math.isfinite(value)}


def measured_values(values: Mapping[str, float]) -> dict[str, float]:
    """Return measured values by MLflow name."""
    return {SHOWN_AS.get(metric, f"test/{metric}"): value for metric, value in values.items() if math.isfinite(value)}


def numbers(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Return the numbers in a stage's metrics.json by path (`dev/accuracy`), without those that are null."""
    found: dict[str, float] = {}
    for key, value in values.items():
        name = prefix + re.sub(r"[^\w\-. :]", "_", key)
        if isinstance(value, Mapping) and "value" in value and "unit" in value:
            found |= numbers({key: value["value"]}, prefix)
            found |= numbers({f"{key}_{end}": value.get(end) for end in ("ci_low", "ci_high")}, prefix)
        elif isinstance(value, Mapping):
            found |= numbers(value, f"{name}/")
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            found[name] = float(value)
    return found


def grouped(values: Mapping[str, float], group: str) -> dict[str, float]:
    """Return a stage's own numbers under the names of the same measurements in a verdict, others below `group`."""

    def name(key: str) -> str:
        metric = key.removeprefix("test/")
        return SHOWN_AS.get(metric, key if "/" in key else f"{group}/{key}")

    return {name(key): value for key, value in values.items()}
