"""What a checkpoint keeps of the base model's general ability, and how fast and large it is.

Writes into artifacts/benchmark/<checkpoint>/:

metrics.json    `whether.records.BenchmarkMetrics`
results.json    each task of the suite: `whether.records.TaskResult`
samples.jsonl   each document: `whether.records.BenchmarkSample` (1.0 right, 0.0 not), so that checkpoints are compared
                in pairs
"""

from dataclasses import replace
from pathlib import Path

from whether.benchmark.other import measure_unseen_task
from whether.benchmark.retention import run_suite
from whether.benchmark.speed import measure_speed
from whether.benchmark.text import measure_perplexity
from whether.config import BenchmarkConfig, ModelConfig
from whether.model.precision import precision_of
from whether.records import CHECKPOINT, BenchmarkMetrics, to_builtins, write_json, write_jsonl


def benchmark(
    checkpoint: str, config: BenchmarkConfig, model: ModelConfig, seed: int, *, artifacts: Path, folder: Path
) -> None:
    """Measure one checkpoint and write the records named above into `folder`.

    Raises ConfigError for a task that lm-eval does not know and DataError for rows or text that cannot be read.
    """
    from whether.engine.local import LocalModel
    from whether.model.memory import peak_memory

    dtype = precision_of(model)
    weights = artifacts / "finetune" / checkpoint / CHECKPOINT
    local = LocalModel.load(artifacts / "model", weights, replace(model, dtype=dtype))
    speed = measure_speed(local, config.speed_requests, config.speed_batch, seed)
    suite = run_suite(local, config, seed)
    other = measure_unseen_task(local, config.other, config.other_examples, seed) if config.other else None
    perplexity = measure_perplexity(local, Path(config.text), config.text_tokens) if config.text else None

    write_json(folder / "results.json", {name: to_builtins(result) for name, result in suite.results.items()})
    write_jsonl(folder / "samples.jsonl", suite.samples)
    metrics = BenchmarkMetrics(
        retention=suite.retention,
        n_documents=len(suite.samples),
        truncated_requests=suite.truncated_requests,
        truncated_tokens=suite.truncated_tokens,
        perplexity=perplexity.value if perplexity else None,
        n_text_tokens=perplexity.tokens if perplexity else None,
        other=other,
        peak_memory=peak_memory(),
        disk=_size(weights) - _size(weights / "checkpoint.json"),
        model_disk=_size(artifacts / "model"),
        dtype=dtype,
        **speed._asdict(),
    )
    write_json(folder / "metrics.json", metrics)


def write_unmeasured(folder: Path) -> None:
    """Write the records of a served model: nothing of it is here, and its provider's benchmark is not ours."""
    write_json(folder / "results.json", {})
    write_jsonl(folder / "samples.jsonl", ())
    write_json(folder / "metrics.json", BenchmarkMetrics())


def _size(path: Path) -> int:
    """Return the bytes of a file, or of the files under a folder."""
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())
