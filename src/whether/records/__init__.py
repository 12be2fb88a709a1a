"""The types that cross stages, and how they are read and written.

Every stage writes plain files under `artifacts/<stage>/`; these types are their keys. Writes are atomic: a file or a
folder is made beside its place and renamed into it, so a full disk or a kill leaves the old one or none, never half.
"""

from whether.records.files import (
    ARTIFACTS,
    STATE,
    output_folder,
    read_json,
    read_jsonl,
    sha256_file,
    sha256_folder,
    sha256_plain,
    to_plain,
    write_json,
    write_jsonl,
    write_text,
    writing,
)
from whether.records.metrics import (
    METRICS,
    Measurement,
    MetricInfo,
    measurement,
)
from whether.records.task import (
    Example,
    Output,
    Prediction,
    Split,
    Task,
)
from whether.records.verdict import (
    Answer,
    ArmRecord,
    BreakEven,
    Comparison,
    Provenance,
    TrainingCost,
    Verdict,
)

__all__ = [
    "ARTIFACTS",
    "METRICS",
    "STATE",
    "Answer",
    "ArmRecord",
    "BreakEven",
    "Comparison",
    "Example",
    "Measurement",
    "MetricInfo",
    "Output",
    "Prediction",
    "Provenance",
    "Split",
    "Task",
    "TrainingCost",
    "Verdict",
    "measurement",
    "output_folder",
    "read_json",
    "read_jsonl",
    "sha256_file",
    "sha256_folder",
    "sha256_plain",
    "to_plain",
    "write_json",
    "write_jsonl",
    "write_text",
    "writing",
]
