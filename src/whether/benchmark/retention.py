"""The retention suite: lm-eval's tasks, run through its Python API on our engine."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from whether.config import BenchmarkConfig
from whether.errors import ConfigError, DataError, near_matches
from whether.records import BenchmarkSample, TaskResult

if TYPE_CHECKING:
    from whether.engine.local import LocalModel


class SuiteResults(NamedTuple):
    """What a checkpoint reached on every task."""

    retention: float
    results: dict[str, TaskResult]
    samples: list[BenchmarkSample]
    truncated_requests: int
    """Requests that were longer than the context window and lost their beginnings; a document has one a choice."""
    truncated_tokens: int


def run_suite(local: "LocalModel", config: BenchmarkConfig, seed: int) -> SuiteResults:
    """Score the first `config.limit` documents of each task. Raises ConfigError and DataError."""
    with _quiet(), _own_data() if config.include_path else ExitStack():
        from lm_eval.evaluator import evaluate

        from whether.engine.lm_eval_model import EngineLM

        loaded = _load_tasks(config, seed)
        model = EngineLM(local, truncation=config.truncation)
        report = evaluate(
            model,
            loaded,
            limit=config.limit,
            bootstrap_iters=100,
            log_samples=True,
            confirm_run_unsafe_code=False,
        )
    metrics = {name: _metric(report["results"][name], loaded["tasks"].get(name)) for name in report["results"]}
    results = {name: _task_result(name, metrics[name], report, loaded["groups"]) for name in config.tasks}
    samples = [
        BenchmarkSample(task, sample["doc_id"], float(sample[metrics[task]]))
        for task, rows in report["samples"].items()
        for sample in rows
    ]
    return SuiteResults(
        retention=fmean(result.value for result in results.values()),
        results=results,
        samples=samples,
        truncated_requests=model.truncation.requests,
        truncated_tokens=model.truncation.tokens,
    )


def _load_tasks(config: BenchmarkConfig, seed: int) -> Any:
    """Find the tasks and read their documents."""
    from lm_eval.tasks import TaskManager

    folder = _task_folder(config.include_path) if config.include_path else None
    manager = TaskManager(include_path=folder, include_defaults=folder is None)
    for name in config.tasks:
        if name not in manager.all_tasks:
            place = config.include_path or "lm-eval"
            known = manager.all_tasks if config.include_path else _similar(name, manager.all_tasks)
            raise ConfigError(f"benchmark.tasks: {place} has no task {name!r}{near_matches(name, known)}")
    try:
        loaded = manager.load(config.tasks)
    except FileNotFoundError as error:
        raise DataError(f"benchmark {config.name}: {error}; fetch the data first (`whether fetch`)") from None
    for task in loaded["tasks"].values():
        if task.get_config("num_fewshot") != 0:
            task.set_config("num_fewshot", config.num_fewshot)
        task.set_fewshot_seed(seed)
    return loaded


def _task_folder(include_path: str) -> str:
    """Return a folder of task YAMLs from its path or the name of a package. Raises ConfigError for what is neither."""
    if Path(include_path).is_dir():
        return include_path
    with suppress(ImportError, ValueError):
        found = find_spec(include_path)
        if found and found.submodule_search_locations:
            return str(found.submodule_search_locations[0])
    raise ConfigError(
        f"benchmark.include_path: {include_path} is not a folder, nor a package such as whether.benchmark.tasks"
    )


def _similar(name: str, names: list[str]) -> list[str]:
    """lm-eval's own tasks are thousands: list only those that share the name's first word."""
    return [known for known in names if known.startswith(name.split("_", maxsplit=1)[0])]


def _task_result(name: str, metric: str, report: Any, groups: Mapping[str, Any]) -> TaskResult:
    values = report["results"][name]
    leaves = [task.task_name for task in groups[name].get_all_tasks()] if name in groups else [name]
    stderr = values.get(f"{metric}_stderr,none")
    return TaskResult(
        metric=metric,
        value=float(values[f"{metric},none"]),
        stderr=float(stderr) if isinstance(stderr, (int, float)) else None,
        n=sum(len(report["samples"][leaf]) for leaf in leaves),
    )


def _metric(values: Mapping[str, Any], task: Any | None) -> str:
    """Return the metric that a task lists first; a group's is the first of lm-eval's `{"acc,none": …}`."""
    listed = task.config.metric_list if task else None
    return listed[0]["metric"] if listed else next(key.partition(",")[0] for key in values if key.endswith(",none"))


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the notes and bars of lm-eval and datasets; errors still raise."""
    import datasets
    import lm_eval.api.model
    import lm_eval.api.task
    from tqdm import tqdm

    logger = logging.getLogger("lm_eval")
    level = logger.level

    def silent(*arguments: Any, **options: Any) -> Any:
        return tqdm(*arguments, **(options | {"disable": True}))

    logger.setLevel(logging.ERROR)
    had_bars = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        with _replaced(lm_eval.api.task, "tqdm", silent), _replaced(lm_eval.api.model, "tqdm", silent):
            yield
    finally:
        logger.setLevel(level)
        if had_bars:
            datasets.enable_progress_bars()


@contextmanager
def _own_data() -> Iterator[None]:
    """Read local rows without the hub, and cache them only as long as they are needed."""
    import datasets.config
    import huggingface_hub.constants

    with (
        TemporaryDirectory(prefix="whether-datasets-") as folder,
        _replaced(datasets.config, "HF_DATASETS_CACHE", Path(folder)),
        _replaced(datasets.config, "HF_HUB_OFFLINE", True),
        _replaced(huggingface_hub.constants, "HF_HUB_OFFLINE", True),
    ):
        yield


@contextmanager
def _replaced(module: ModuleType, name: str, value: Any) -> Iterator[None]:
    """Give a library's setting another value for a while: these have no interface that works after import."""
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)
