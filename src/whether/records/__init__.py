"""The types that cross stages, and how they are read and written.

Every stage writes plain files under `artifacts/<stage>/`; these types are their keys. Writes are atomic: a file or a
folder is made beside its place and renamed into it, so a full disk or a kill leaves the old one or none, never half.
"""

from whether.records.changes import ArmChange, ChangeConclusion, Changes
from whether.records.curve import CurveAnswer, CurvePoint, CurveTraining
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
from whether.records.learning_curve import (
    Crossover,
    CurveLevel,
    CurvePosition,
    CurveValue,
    LearningCurve,
    PowerLaw,
)
from whether.records.metrics import (
    METRICS,
    Measurement,
    MetricInfo,
    measurement,
)
from whether.records.optimise import CandidateRecord, OptimiseRecord
from whether.records.robustness import Adherence, Robustness, VariationScore, Violation
from whether.records.search import SearchRecord, TrialRecord
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
    Aspect,
    BreakEven,
    Comparison,
    CostDriver,
    Interaction,
    Provenance,
    TrainingCost,
    Verdict,
)

__all__ = [
    "ARTIFACTS",
    "METRICS",
    "STATE",
    "Adherence",
    "Answer",
    "ArmChange",
    "ArmRecord",
    "Aspect",
    "BreakEven",
    "CandidateRecord",
    "ChangeConclusion",
    "Changes",
    "Comparison",
    "CostDriver",
    "Crossover",
    "CurveAnswer",
    "CurveLevel",
    "CurvePoint",
    "CurvePosition",
    "CurveTraining",
    "CurveValue",
    "Example",
    "Interaction",
    "LearningCurve",
    "Measurement",
    "MetricInfo",
    "OptimiseRecord",
    "Output",
    "PowerLaw",
    "Prediction",
    "Provenance",
    "Robustness",
    "SearchRecord",
    "Split",
    "Task",
    "TrainingCost",
    "TrialRecord",
    "VariationScore",
    "Verdict",
    "Violation",
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
