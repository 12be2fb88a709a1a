"""The list of arms in MLflow, with the columns that a reviewer wants: its own list of runs opens without a metric.

MLflow keeps what someone shares of its list (filter, order, columns) in a tag of the experiment, and opens it by the
tag's name. This is such a tag.
"""

import json
from collections.abc import Mapping

from whether.records import ArmRecord
from whether.tracking.names import measured

ARM_LIST = "whether-arms"
"""Its name in an address, as `viewStateShareKey`."""
TAG = f"mlflow.sharedViewState.{ARM_LIST}"
COLUMNS = (
    "test/valid_rate", "cost/usd_per_1k", "cost/usd_to_build", "latency/p50", "robustness/sensitivity_spread",
    "robustness/consistency", "retention/change",
)  # fmt: skip
"""Metrics besides the verdict's own, in order; one that no arm has is left out."""


def arm_list(arms: Mapping[str, ArmRecord], metric: str) -> str:
    """Return the list's state as MLflow reads it: all arms of the experiment, best first by a verdict's metric."""
    known = {name for arm in arms.values() for name in measured(arm.metrics)}
    own = f"test/{metric}"
    shown = [name for name in (own, f"{own}_ci_low", f"{own}_ci_high", *COLUMNS) if name in known]
    columns = [f"metrics.`{name}`" for name in shown]
    widths = {column: 6 * len(column) + 10 for column in columns}  # pixels, for a name to be read whole
    return json.dumps(
        {
            "searchFilter": "tags.`whether.kind` = 'arm'",
            "orderByKey": f"metrics.`{own}`",
            "orderByAsc": False,
            "selectedColumns": columns,
            "columnOrder": columns,
            "columnWidths": widths,
        }
    )
