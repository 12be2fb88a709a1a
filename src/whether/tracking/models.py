"""MLflow's model registry: each arm that may answer once, as a model that loads in a fresh process.

`mlflow.pyfunc.load_model("models:/whether-<task>@champion")` answers a table of the task's inputs. Where retraining has
a champion, retrain/champion.json is the truth and the alias follows it; where MLflow does not answer, the next
retraining run moves it.
"""

import logging
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

from whether.config import Config
from whether.errors import RecordError, TrackingError
from whether.printing.markdown import code
from whether.printing.secrets import without_credentials
from whether.records import BundleRecord, Champion, Example, Task, read_json, read_jsonl, sha256_json
from whether.tracking.connection import open_experiment
from whether.tracking.names import flatten, measured_values
from whether.tracking.own_wheel import write_wheel
from whether.tracking.reading import experiment_name
from whether.tracking.store import Experiment
from whether.tracking.views import ModelView, ModelViews, RunView

logger = logging.getLogger("whether.tracking")

BUNDLE = "whether.bundle"
"""Tag of a version: the id of the bundle in retrain/bundles that it is."""
CONTENT = "whether.content"
"""Tag of a version: `BundleRecord.content_hash`."""
SHORT = 12
"""Characters of a hash where it is shown to people."""
WHEELS = "wheels"
"""Folder of a logged model with this package."""
CODE = "whether.tracking.pyfunc_model"


def model_name(task: str) -> str:
    """Return the name of a task's registered model."""
    return f"whether-{re.sub(r'[^A-Za-z0-9_.-]', '_', task)}"


def model_description(task: str) -> str:
    """Return what a task's registered model is, as Markdown."""
    return (
        f"Arms of task {code(task)} that answer its inputs:"
        f' `mlflow.pyfunc.load_model("models:/{model_name(task)}@champion")`, where `WHETHER_MODEL` names the folder of'
        " the base model. A version comes from the run of its arm; its tag `verdict` begins the pipeline run's tag"
        " `whether.content_key`."
    )


def register_models(store: Experiment, models: ModelViews, run_of: Callable[[ModelView], str]) -> dict[str, str]:
    """Register the versions that are missing, move the aliases, and return content → version.

    `run_of` returns the id of the run that a version comes from, and that keeps its files.
    """
    known = store.models.versions(models.name, CONTENT)
    found: dict[str, str] = {}
    for view in models.versions:
        version = known.get(view.content)
        if version is None:
            run_id, folder = run_of(view), f"model-{view.content[:8]}"
            with tempfile.TemporaryDirectory() as scratch:
                store.models.upload(run_id, _saved_model(view, Path(scratch)), folder)
            tags = view.first_tags | view.tags | {CONTENT: view.content}
            store.models.ensure(models.name, models.note)
            made = store.models.register(models.name, run_id, folder, tags, view.note)
            found[view.content] = str(store.models.versions(models.name, CONTENT)[view.content].version)
            if found[view.content] != made:  # another machine was faster
                store.models.drop(models.name, made)
        else:
            store.models.say(version, view.tags, view.note)
            found[view.content] = str(version.version)
    for alias, content in models.aliases.items():
        store.models.point(models.name, alias, found.get(content) if content else None)
    return found


def _saved_model(view: ModelView, scratch: Path) -> Path:
    """Return the folder of a version's model, written under `scratch`. Raises TrackingError where it cannot be."""
    try:
        save_model(view.bundle(scratch / "bundle"), scratch / "model")
    except (RecordError, OSError) as error:
        reason = str(error) if isinstance(error, RecordError) else f"{scratch}: {error.strerror or error}"
        raise TrackingError(f"the model of {view.arm} cannot be registered: {reason}") from error
    return scratch / "model"


def publish_champion(config: Config, folder: Path, root: Path = Path()) -> str | None:
    """Register champion and previous champion, let the aliases point at them, and return the model's name.

    None where tracking is off, there is no champion, or MLflow has to wait.
    """
    if not config.tracking.enabled or not (folder / "champion.json").exists():
        return None
    champion = read_json(folder / "champion.json", Champion)
    experiment = experiment_name(config)
    bundles = {
        alias: folder / "bundles" / bundle
        for alias, bundle in (("previous", champion.previous), ("champion", champion.champion))
        if bundle and (folder / "bundles" / bundle).exists()
    }
    records = {alias: read_json(bundle / "bundle.json", BundleRecord) for alias, bundle in bundles.items()}
    places = {record.content_hash: bundles[alias] for alias, record in records.items()}
    models = ModelViews(
        name=model_name(config.task.name),
        note=model_description(config.task.name),
        versions=[_champion_view(record, bundles[alias]) for alias, record in records.items()],
        # The champion's alias moves last.
        aliases={
            alias: records[alias].content_hash if alias in records else None for alias in ("previous", "champion")
        },
    )
    try:
        with open_experiment(config.tracking.uri, experiment, root.resolve()) as store:
            found = register_models(store, models, lambda view: _bundle_run(store, places[view.content], experiment))
            store.models.drop_if_same(models.name, "challenger", found.get(models.aliases["champion"] or ""))
    except TrackingError as error:
        logger.warning("MLflow's registry is not up to date: %s", without_credentials(str(error)))
        return None
    return models.name


def _champion_view(record: BundleRecord, folder: Path) -> ModelView:
    return ModelView(
        arm=record.arm,
        content=record.content_hash,
        note="",
        tags={BUNDLE: record.id},
        bundle=lambda _: folder,
        first_tags=version_tags(record),
    )


def version_tags(record: BundleRecord) -> dict[str, str]:
    """Return what a version says. MLflow's list of versions shows every tag; the run of the arm has the rest."""
    shown = {record.metric, "usd_per_1k", "latency_p50"}
    measured = measured_values({name: value for name, value in record.metrics.items() if name in shown})
    return {
        "arm": record.arm,
        "verdict": record.files["verdict.json"][:SHORT],
        **{name: f"{value:.4g}" for name, value in measured.items()},
    }


def _bundle_run(store: Experiment, folder: Path, experiment: str) -> str:
    """Return the run that shows a bundle, written if it is new."""
    view = _view(read_json(folder / "bundle.json", BundleRecord), folder, experiment)
    stored = store.find(view.content_key)
    if stored is not None:
        return stored.run_id
    run_id = store.begin(view)
    store.complete(run_id, view)
    return run_id


def save_model(bundle: Path, target: Path) -> None:
    """Write a bundle as an MLflow model folder: its files, the code that loads them, and the signature.

    This package is in it as a wheel, which its requirements name: no index has it.
    """
    code = find_spec(CODE)
    if code is None or code.origin is None:
        raise TrackingError(f"{CODE} is not installed")
    task = read_json(bundle / "task.json", Task)
    backend = read_json(bundle / "bundle.json", BundleRecord).model_settings.get("backend")
    pool = read_jsonl(bundle / "train.jsonl", Example)
    wheel = write_wheel(target.parent)
    for library in ("mlflow.pyfunc", "mlflow.models", "mlflow.utils"):
        logging.getLogger(library).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MLflow about its own code
        import mlflow.pyfunc
        import pandas as pd
        from mlflow.models import ModelSignature
        from mlflow.types import ColSpec, Schema

        columns = [
            ColSpec("string", "answer", required=False),
            ColSpec("boolean", "valid"),
            ColSpec("string", "output"),
        ]
        mlflow.pyfunc.save_model(
            target,
            python_model=code.origin,
            artifacts={"bundle": str(bundle.resolve())},
            signature=ModelSignature(Schema([ColSpec("string", name) for name in task.inputs]), Schema(columns)),
            input_example=pd.DataFrame([pool[0].inputs], columns=task.inputs) if pool else None,
            pip_requirements=[f"./{WHEELS}/{wheel.name}" + ("[vllm]" if backend == "vllm" else "")],
        )
    (target / WHEELS).mkdir()
    shutil.move(wheel, target / WHEELS)


def _view(record: BundleRecord, folder: Path, experiment: str) -> RunView:
    made = datetime.fromtimestamp((folder / "bundle.json").stat().st_mtime).astimezone()
    return RunView(
        name=f"bundle-{record.arm}-{record.id}",
        kind="bundle",
        started=made,
        ended=made,
        content_key=sha256_json({"experiment": experiment, "kind": "bundle", "bundle": record.id}),
        note=f"All that answers as `{record.arm}` did, but for the base model. `retrain/bundles/{record.id}`.",
        params=flatten({"prompt": record.prompt, "model": record.model_settings, "seed": record.seed}),
        tags={"task": record.task, "model": record.model, "arm": record.arm, "bundle": record.id},
        metrics=measured_values(record.metrics),
        files=[(folder / "verdict.json", ""), (folder / "bundle.json", "")],
    )
