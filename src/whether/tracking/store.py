"""An experiment in MLflow: runs are written whole, found again by content key, and never written twice.

A run is complete when its status is FINISHED, which is the last thing that is written. What a kill left behind in the
middle is deleted and written again.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

from whether.printing.secrets import without_credentials
from whether.tracking.names import storable
from whether.tracking.registry import ModelRegistry, PromptRegistry
from whether.tracking.traces import log_traces
from whether.tracking.views import DatasetView, RunView, TraceView

PARENT = "mlflow.parentRunId"
NOTE = "mlflow.note.content"
CONTENT_KEY = "whether.content_key"
KIND = "whether.kind"

VALUE_LIMIT = 6000
"""Characters that MLflow keeps of a parameter."""


class StoredRun(NamedTuple):
    """A complete run in the store."""

    run_id: str
    parent_id: str | None
    note: str


class Experiment:
    """Writes runs, and finds them by the key of what they show."""

    def __init__(self, client: Any, experiment_id: str):
        self._client = client
        self.experiment_id = experiment_id
        self.prompts = PromptRegistry(client, experiment_id)
        self.models = ModelRegistry(client)

    def find(self, content_key: str) -> StoredRun | None:
        """Return the complete run that shows this content; incomplete ones are deleted."""
        found = None
        by_age = ["attributes.start_time ASC"]
        for run in self._client.search_runs(
            [self.experiment_id], f"tags.`{CONTENT_KEY}` = '{content_key}'", order_by=by_age
        ):
            if run.info.status != "FINISHED":
                self._client.delete_run(run.info.run_id)
            elif found is None:
                found = _stored(run)
        return found

    def begin(self, view: RunView, parent_id: str | None = None) -> str:
        """Create the run of a view, incomplete and empty; return its id."""
        tags = view.tags | {
            CONTENT_KEY: view.content_key,
            KIND: view.kind,
            "mlflow.source.name": f"whether {view.kind}",
        }
        if view.note:
            tags[NOTE] = _shown(view.note)
        if parent_id:
            tags[PARENT] = parent_id
        run = self._client.create_run(
            self.experiment_id, start_time=_milliseconds(view.started), tags=tags, run_name=view.name
        )
        return str(run.info.run_id)

    def complete(self, run_id: str, view: RunView) -> None:
        """Write what a view shows into its run, and declare the run complete."""
        self._write_values(run_id, view)
        if view.datasets:
            self._client.log_inputs(run_id, [_dataset_input(dataset) for dataset in view.datasets])
        for file, folder in view.files:
            self._client.log_artifact(run_id, str(file), folder or None)
        for name, text in view.texts.items():
            self._client.log_text(run_id, text, name)
        if view.table:
            self._write_table(run_id, view.table)
        self._client.set_terminated(run_id, "FINISHED", _milliseconds(view.ended))

    def _write_table(self, run_id: str, rows: list[dict[str, Any]]) -> None:
        """Log predictions.json, which the UI's comparison of runs reads."""
        import pandas as pd

        # As objects an absent answer stays null, and MLflow's search for images among the columns takes no text dtype.
        self._client.log_table(run_id, pd.DataFrame(rows, dtype=object), "predictions.json")

    def _write_values(self, run_id: str, view: RunView) -> None:
        from mlflow.entities import Metric, Param
        from mlflow.utils.validation import MAX_METRICS_PER_BATCH, MAX_PARAMS_TAGS_PER_BATCH

        params = [Param(key, _truncate(_shown(value))) for key, value in view.params.items()]
        ended = _milliseconds(view.ended)
        metrics = [Metric(name, value, ended, 0) for name, value in view.metrics.items()]
        metrics += [Metric(point.metric, point.value, _milliseconds(point.time), point.step) for point in view.history]
        for batch in _batches(params, MAX_PARAMS_TAGS_PER_BATCH):
            self._client.log_batch(run_id, params=batch)
        for batch in _batches(metrics, MAX_METRICS_PER_BATCH):
            self._client.log_batch(run_id, metrics=batch)

    def show_traces(self, run_id: str, views: Sequence[TraceView]) -> None:
        """Show answers as traces of a run, each once."""
        log_traces(self._client, self.experiment_id, run_id, views)

    def set_tag(self, run_id: str, key: str, value: str) -> None:
        """Set one tag of a run."""
        self._client.set_tag(run_id, key, _shown(value))

    def set_experiment_tag(self, key: str, value: str) -> None:
        """Set one tag of the experiment."""
        self._client.set_experiment_tag(self.experiment_id, key, value)

    def show_family(self, above: RunView, below: Iterable[RunView], tag: str, value: str) -> str:
        """Show a run and the runs below it, each once, and return its id; others that have the tag are deleted.

        The run above is begun first, for the others hang below it, and completed last: what a kill leaves is seen. One
        that continues what is there is added to.
        """
        there = self._complete_runs(tag, value)
        stored = there.get(above.content_key)
        before = there.get(above.continues.content_key) if above.continues and not stored else None
        shown = stored or before
        above_id = shown.run_id if shown else self.begin(above)
        kept = {above_id}
        for view in below:
            found = there.get(view.content_key)
            if found is None:
                run_id = self.begin(view, above_id)
                self.complete(run_id, view)
            else:
                run_id = found.run_id
                if found.parent_id != above_id:
                    self.set_tag(run_id, PARENT, above_id)
            kept.add(run_id)
        if before:
            self._go_on(above_id, above)
        elif stored is None:
            self.complete(above_id, above)
        for run in list(self._runs(tag, value)):
            if run.info.run_id not in kept:
                self._client.delete_run(run.info.run_id)
        return above_id

    def _go_on(self, run_id: str, view: RunView) -> None:
        """Add to a run what a view shows beyond it; its new content key, the last thing that is written, says so."""
        added = view.continues.added if view.continues else []
        self._write_values(run_id, replace(view, params={}, metrics={}, history=added))
        for file, folder in view.files:
            self._client.log_artifact(run_id, str(file), folder or None)
        for key, value in (view.tags | {NOTE: view.note}).items():
            self.set_tag(run_id, key, value)
        self._client.set_terminated(run_id, "FINISHED", _milliseconds(view.ended))
        self.set_tag(run_id, CONTENT_KEY, view.content_key)

    def _runs(self, tag: str, value: str) -> Iterator[Any]:
        """Yield every run that has a tag, oldest first."""
        token, is_last = None, False
        while not is_last:
            page = self._client.search_runs(
                [self.experiment_id],
                f"tags.`{tag}` = '{value}'",
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            yield from list(page)
            token, is_last = page.token, not page.token

    def _complete_runs(self, tag: str, value: str) -> dict[str, StoredRun]:
        """Return the complete runs that have a tag by content key; incomplete ones are deleted."""
        found: dict[str, StoredRun] = {}
        for run in list(self._runs(tag, value)):
            if run.info.status == "FINISHED":
                found.setdefault(run.data.tags.get(CONTENT_KEY, ""), _stored(run))
            else:
                self._client.delete_run(run.info.run_id)
        return found

    def exists(self, run_id: str) -> bool:
        """Return whether a run is there and not deleted."""
        from mlflow.exceptions import MlflowException

        try:
            return bool(self._client.get_run(run_id).info.lifecycle_stage == "active")
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise


def _stored(run: Any) -> StoredRun:
    return StoredRun(run.info.run_id, run.data.tags.get(PARENT), run.data.tags.get(NOTE, ""))


def _dataset_input(view: DatasetView) -> Any:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    columns = [{"name": column, "type": "string", "required": True} for column in view.columns]
    dataset = Dataset(
        name=view.name,
        digest=view.digest,
        source_type="local",
        source=json.dumps({"uri": view.path}),
        schema=json.dumps({"mlflow_colspec": columns}),
        profile=json.dumps({"num_rows": view.rows}),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", view.split)])


def _shown(text: str) -> str:
    """Return text as a run may show it: reasons and settings can repeat what a server or a hook said."""
    return without_credentials(storable(text))


def _truncate(value: str) -> str:
    return value if len(value) <= VALUE_LIMIT else value[: VALUE_LIMIT - 2] + " …"


def _batches(items: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _milliseconds(time: datetime) -> int:
    return round(time.timestamp() * 1000)
