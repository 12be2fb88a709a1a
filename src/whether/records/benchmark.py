"""How general, fast and large a checkpoint is: artifacts/benchmark/<checkpoint>/.

metrics.json     `BenchmarkMetrics`
results.json     task of the retention suite → `TaskResult`
samples.jsonl    `BenchmarkSample`, a line each
"""

from dataclasses import dataclass

from whether.records.precision import Dtype


@dataclass(frozen=True)
class TaskResult:
    """One task of the retention suite."""

    metric: str
    """The first metric that the task lists: `acc`, or `acc_norm` (log-likelihood a character)."""
    value: float
    n: int
    """Documents."""
    stderr: float | None = None


@dataclass(frozen=True)
class BenchmarkSample:
    """One document of the retention suite: two checkpoints answer the same ones."""

    task: str
    doc_id: int
    score: float


@dataclass(frozen=True)
class UnseenTaskResult:
    """What a checkpoint scores on a label task that it was not tuned for."""

    task: str
    accuracy: float
    n: int


@dataclass(frozen=True)
class BenchmarkMetrics:
    """metrics.json; None for what was not measured."""

    retention: float | None = None
    """Mean accuracy over the tasks of the suite."""
    n_documents: int = 0
    truncated_requests: int | None = None
    """Requests of the suite that were longer than the context window and lost their beginnings; a document has one a
    choice."""
    truncated_tokens: int | None = None
    perplexity: float | None = None
    n_text_tokens: int | None = None
    other: UnseenTaskResult | None = None
    tokens_per_second: float | None = None
    """Prompt tokens read a second in a batch."""
    tokens_per_second_decode: float | None = None
    """Answer tokens written a second in a batch."""
    latency_p50: float | None = None
    """Seconds of a request, sent one at a time."""
    latency_p95: float | None = None
    latency_input_tokens: int | None = None
    latency_output_tokens: float | None = None
    peak_memory: float | None = None
    """Bytes."""
    disk: int | None = None
    """Bytes that are stored for the checkpoint beyond the base model."""
    model_disk: int | None = None
    dtype: Dtype | None = None
    """Precision of the weights; None: a served model, or in records of an earlier version."""
