"""Bring MLflow up to date with the files: nothing missing, nothing twice."""

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path

from whether.config import Config
from whether.errors import TrackingError
from whether.printing.secrets import without_credentials
from whether.tracking.arm_list import TAG, arm_list
from whether.tracking.connection import ServerUnavailable, open_experiment
from whether.tracking.markdown import VIEW, Link, describe
from whether.tracking.models import register_models
from whether.tracking.reading import experiment_name, read_views
from whether.tracking.store import NOTE, PARENT, Experiment
from whether.tracking.views import ModelViews, RunView, Views

logger = logging.getLogger("whether.tracking")


@dataclass(frozen=True)
class Published:
    """A run that shows records."""

    kind: str
    """`pipeline`, `checkpoint`, `arm`, `benchmark` or `curve`."""
    content_key: str
    """SHA-256 of the records; the run's tag `whether.content_key`."""
    run_id: str | None = None
    """None while it is pending."""
    made_by: str | None = None
    """Id of the pipeline run above it in MLflow; an earlier one where the stage came from the cache."""


@dataclass(frozen=True)
class Receipt:
    """artifacts/publish/receipt.json: which run shows which records. The same state gives the same receipt."""

    uri: str
    """Of the tracking server or database, without user and password."""
    experiment: str
    parent_run_id: str | None = None
    """Run of the pipeline; None while pending, or when tracking is off."""
    url: str | None = None
    """Page of that run, where a server shows it."""
    runs: dict[str, Published] = field(default_factory=dict)
    """By name; the pipeline's own comes first."""
    models: dict[str, str] = field(default_factory=dict)
    """Arm → `<registered model>/<version>`, which `mlflow.pyfunc.load_model("models:/…")` loads."""
    pending: bool = False
    """True if not everything is in MLflow: `whether publish` tries again."""
    reason: str | None = None
    """Why it is pending, or why nothing was published."""


def publish(
    config: Config, artifacts: Path, models: ModelViews | None = None, *, strict: bool = True,
    root: Path | None = None, latest: bool = True,
) -> Receipt:  # fmt: skip
    """Show the records under `artifacts` in MLflow, and `models` in its registry; what shows them already stays.

    `root` is the repository, from which a relative path of a database counts; None: the folder that `artifacts` is in.
    Records that are not the `latest` leave aliases where they are.
    A server that does not answer gives a warning and a pending receipt. What no waiting mends (an address of the wrong
    form, a user who is refused) raises TrackingError, or with `strict` off gives a warning and a pending receipt too:
    a pipeline's results do not depend on MLflow. Raises RecordError for records that cannot be read.
    """
    uri, experiment = without_credentials(config.tracking.uri), experiment_name(config)
    if not config.tracking.enabled:
        return Receipt(uri, experiment, reason="tracking.enabled is false")
    views = read_views(config, artifacts)
    try:
        with open_experiment(config.tracking.uri, experiment, root or artifacts.resolve().parent) as store:
            runs, versions = _bring_up_to_date(store, views, models, latest=latest)
            experiment_id = store.experiment_id
    except TrackingError as error:
        if strict and not isinstance(error, ServerUnavailable):
            raise
        logger.warning("MLflow is not up to date: %s. Later, run `whether publish`.", error)
        waiting = {view.name: Published(view.kind, view.content_key) for view in (views.pipeline, *views.stages)}
        return Receipt(uri, experiment, runs=waiting, pending=True, reason=str(error))
    parent_id = runs[views.pipeline.name].run_id
    page = f"{uri.rstrip('/')}/#/experiments/{experiment_id}/runs/{parent_id}?{VIEW}"
    url = page if uri.startswith("http") else None
    return Receipt(uri, experiment, parent_id, url, runs, versions)


def _bring_up_to_date(
    store: Experiment, views: Views, models: ModelViews | None, *, latest: bool
) -> tuple[dict[str, Published], dict[str, str]]:
    """Write what is missing; return all runs by name, and the versions of models by arm.

    The pipeline's run is begun first, since the others hang below it, and completed last: what a kill leaves is seen.
    """
    pipeline, metric = views.pipeline, views.verdict.metric
    stored = store.find(pipeline.content_key)
    parent_id = stored.run_id if stored else store.begin(pipeline)
    runs = {pipeline.name: Published(pipeline.kind, pipeline.content_key, parent_id)}
    for view in views.stages:
        runs[view.name] = _stage_run(store, view, parent_id)
    for arm, traces in views.traces.items():
        store.show_traces(str(runs[arm].run_id), traces)
    if latest:
        store.set_experiment_tag(TAG, arm_list(views.verdict.arms, metric))
    run_ids = {name: str(run.run_id) for name, run in runs.items()}
    asked = _register_prompts(store, views, run_ids, latest=latest)
    versions = _register_models(store, models, run_ids, parent_id, asked) if models else {}
    links = [
        Link(name, run.kind, str(run.run_id), earlier=run.made_by != parent_id)
        for name, run in runs.items()
        if run.kind != pipeline.kind
    ]
    note = describe(views.verdict, metric, store.experiment_id, links)
    if stored is None or stored.note != note:
        store.set_tag(parent_id, NOTE, note)
    if stored is None:
        store.complete(parent_id, pipeline)
    return runs, versions


def _register_models(
    store: Experiment, models: ModelViews, runs: dict[str, str], parent_id: str, asked: dict[str, str]
) -> dict[str, str]:
    """Register arms as models that come from the arms' runs; return arm → version."""
    pipeline = f"#/experiments/{store.experiment_id}/runs/{parent_id}?{VIEW}"
    changed = [
        replace(
            view,
            note=f"{view.note} [The pipeline's run]({pipeline})",
            tags=view.tags | ({"prompt": asked[view.arm]} if view.arm in asked else {}),  # a baseline has no prompt
        )
        for view in models.versions
    ]
    found = register_models(store, replace(models, versions=changed), lambda view: runs[view.arm])
    return {view.arm: f"{models.name}/{found[view.content]}" for view in changed}


def _register_prompts(store: Experiment, views: Views, runs: dict[str, str], *, latest: bool) -> dict[str, str]:
    """Register each prompt's text once, link it to its arms, and let the latest recommended one be the champion.

    Returns arm → `prompts:/<name>/<version>`.
    """
    verdict, champion = views.verdict, None
    asked = {}
    for view in views.prompts:
        version = store.prompts.register(view)
        for arm in view.arms:
            store.prompts.link(runs[arm], view.name, version)
            asked[arm] = f"prompts:/{view.name}/{version}"
            if arm == verdict.recommended_arm and verdict.answer != "inconclusive":
                champion = view.name, version
    if latest:
        store.prompts.crown(champion, verdict.task)
    return asked


def _stage_run(store: Experiment, view: RunView, parent_id: str) -> Published:
    """Return the run that shows a stage, written below the pipeline's unless it is there already."""
    stored = store.find(view.content_key)
    if stored is None:
        run_id = store.begin(view, parent_id)
        store.complete(run_id, view)
        return Published(view.kind, view.content_key, run_id, made_by=parent_id)
    if stored.parent_id in (None, parent_id) or store.exists(stored.parent_id):
        return Published(view.kind, view.content_key, stored.run_id, made_by=stored.parent_id)
    # The pipeline's run above it was deleted, by hand or because a kill had left it incomplete.
    store.set_tag(stored.run_id, PARENT, parent_id)
    return Published(view.kind, view.content_key, stored.run_id, made_by=parent_id)
