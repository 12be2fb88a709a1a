"""MLflow's model registry: each bundle once, as a model that loads in a fresh process; aliases say which one answers.

`mlflow.pyfunc.load_model("models:/whether-<task>@champion")` answers a table of the task's inputs. The aliases follow
retrain/champion.json, which is the truth: where MLflow does not answer, the next night moves them.
"""

import logging
import re
import tempfile
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

from whether.config import Config
from whether.errors import TrackingError
from whether.records import BundleRecord, Champion, Example, Task, read_json, read_jsonl, sha256_plain
from whether.tracking.connection import open_experiment
from whether.tracking.names import flatten, measured_values, without_credentials
from whether.tracking.reading import experiment_name
from whether.tracking.store import Experiment
from whether.tracking.views import RunView

logger = logging.getLogger("whether.tracking")

BUNDLE = "whether.bundle"
"""Tag of a version: the id of the bundle that it is."""
CODE = "whether.retrain.served_model"


def publish_champion(config: Config, folder: Path, root: Path = Path()) -> str | None:
    """Register champion and previous champion, let the aliases point at them, and return the model's name.

    None where tracking is off, there is no champion, or MLflow has to wait.
    """
    if not config.tracking.enabled or not (folder / "champion.json").exists():
        return None
    champion = read_json(folder / "champion.json", Champion)
    experiment = experiment_name(config)
    name = f"whether-{re.sub(r'[^A-Za-z0-9_.-]', '_', config.task.name)}"
    aliases = {"champion": champion.champion, "previous": champion.previous}
    try:
        with open_experiment(config.tracking.uri, experiment, root.resolve()) as store:
            versions = {}
            for bundle in filter(None, aliases.values()):
                place = folder / "bundles" / bundle
                if place.exists():
                    versions[bundle] = _version(store, name, place, experiment)
            # The champion's alias moves last.
            for alias in ("previous", "champion"):
                store.models.point(name, alias, versions.get(aliases[alias] or ""))
    except TrackingError as error:
        logger.warning("MLflow's registry is not up to date: %s", without_credentials(str(error)))
        return None
    return name


def _version(store: Experiment, name: str, folder: Path, experiment: str) -> str:
    """Return the version that is this bundle, registered if it is new."""
    record = read_json(folder / "bundle.json", BundleRecord)
    known = store.models.find(name, BUNDLE, record.id)
    if known is not None:
        return known
    view = _view(record, folder, experiment)
    stored = store.find(view.content_key)
    run_id = stored.run_id if stored else store.begin(view)
    if stored is None:
        task = read_json(folder / "task.json", Task)
        with tempfile.TemporaryDirectory() as scratch:
            save_model(folder, task, Path(scratch) / "model")
            store.models.upload(run_id, Path(scratch) / "model")
        store.complete(run_id, view)
    tags = {BUNDLE: record.id, "task": record.task, "arm": record.arm, record.metric: f"{record.quality:.4f}"}
    return store.models.register(name, run_id, tags, f"{record.arm} on {record.model}")


def save_model(bundle: Path, task: Task, target: Path) -> None:
    """Write a bundle as an MLflow model folder: its files, the code that loads them, and the signature."""
    import mlflow
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    code = find_spec(CODE)
    if code is None or code.origin is None:
        raise TrackingError(f"{CODE} is not installed")
    signature = ModelSignature(
        inputs=Schema([ColSpec("string", name) for name in task.inputs]),
        outputs=Schema(
            [ColSpec("string", "answer", required=False), ColSpec("boolean", "valid"), ColSpec("string", "output")]
        ),
    )
    pool = read_jsonl(bundle / "train.jsonl", Example)
    example = pd.DataFrame([pool[0].inputs], columns=task.inputs) if pool else None
    for library in ("mlflow.pyfunc", "mlflow.models", "mlflow.utils"):
        logging.getLogger(library).setLevel(logging.ERROR)
    mlflow.pyfunc.save_model(
        target,
        python_model=code.origin,
        artifacts={"bundle": str(bundle.resolve())},
        signature=signature,
        input_example=example,
        pip_requirements=["whether"],
    )


def _view(record: BundleRecord, folder: Path, experiment: str) -> RunView:
    made = datetime.fromtimestamp((folder / "bundle.json").stat().st_mtime).astimezone()
    return RunView(
        name=f"bundle-{record.arm}-{record.id}",
        kind="bundle",
        started=made,
        ended=made,
        content_key=sha256_plain({"experiment": experiment, "kind": "bundle", "bundle": record.id}),
        note=f"All that answers as `{record.arm}` did, but for the base model. `retrain/bundles/{record.id}`.",
        params=flatten({"prompt": record.prompt, "model": record.model_settings, "seed": record.seed}),
        tags={"task": record.task, "model": record.model, "arm": record.arm, "bundle": record.id},
        metrics=measured_values(record.metrics),
        files=[(folder / "verdict.json", ""), (folder / "bundle.json", "")],
    )
