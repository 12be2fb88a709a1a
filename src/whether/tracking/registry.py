"""MLflow's registries. Prompts: each text once, linked to the runs that asked with it. Models: each bundle once."""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from whether.tracking.views import PromptView

CONTENT = "whether.content"
"""Tag of a version: SHA-256 of its text and of what else makes the prompt."""
CHAMPION = "champion"
LINKED = "mlflow.linkedPrompts"
PROMPTS = "tags.`mlflow.prompt.is_prompt` = 'true'"
"""Filter: MLflow keeps prompts among the registered models."""
PAGE = 1000
"""Prompts that are looked at in one request."""


class PromptRegistry:
    """Registers versions of prompts in an experiment, and says which one is the champion."""

    def __init__(self, client: Any, experiment_id: str):
        self._client, self._experiment_id = client, experiment_id

    def register(self, view: PromptView) -> int:
        """Return the version that has this content, registered if it is new."""
        for known in self._versions(view.name):
            if known.tags.get(CONTENT) == view.content:
                return int(known.version)
        with _current_experiment(self._client.tracking_uri, self._experiment_id):
            made = self._client.register_prompt(
                view.name, view.text, commit_message=view.note, tags=view.tags | {CONTENT: view.content}
            )
        return int(made.version)

    def link(self, run_id: str, name: str, version: int) -> None:
        """Link a run to the version that it asked with; the client's own way to do it knows the global server only."""
        linked = json.dumps([{"name": name, "version": str(version)}])
        if self._client.get_run(run_id).data.tags.get(LINKED) != linked:
            self._client.set_tag(run_id, LINKED, linked)

    def crown(self, champion: tuple[str, int] | None, task: str) -> None:
        """Give the alias to one version of one of a task's prompts, and take it from the others."""
        held = self._champions(task)
        for name in held.keys() - ({champion[0]} if champion else set()):
            self._client.delete_prompt_alias(name, CHAMPION)
        if champion and held.get(champion[0]) != champion[1]:
            self._client.set_prompt_alias(champion[0], CHAMPION, champion[1])

    def _champions(self, task: str) -> dict[str, int]:
        """Return the version of each of a task's prompts that has the alias; one request for each page of prompts."""
        found, page = dict[str, int](), None
        while True:
            models = self._client.search_registered_models(PROMPTS, max_results=PAGE, page_token=page)
            own = (model for model in models if model.name.startswith(f"{task}."))
            found |= {model.name: int(model.aliases[CHAMPION]) for model in own if CHAMPION in model.aliases}
            page = models.token
            if not page:
                return found

    def _versions(self, name: str) -> list[Any]:
        from mlflow.exceptions import MlflowException

        try:
            return list(self._client.search_prompt_versions(name))
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return []
            raise


class ModelRegistry:
    """Versions of a model, and which of them the aliases name."""

    def __init__(self, client: Any):
        self._client = client

    def versions(self, name: str, tag: str) -> dict[str, Any]:
        """Return the versions that have a tag by its value; the oldest of those with the same."""
        found = dict[str, Any]()
        for version in self._client.search_model_versions(f"name='{name}'", order_by=["version_number ASC"]):
            if tag in version.tags:
                found.setdefault(version.tags[tag], version)
        return found

    def upload(self, run_id: str, folder: Path, target: str) -> None:
        """Put a model folder into a run's artifacts."""
        self._client.log_artifacts(run_id, str(folder), target)

    def ensure(self, name: str, description: str) -> None:
        """Make the registered model, unless it is there."""
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(name, description=description)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def register(self, name: str, run_id: str, folder: str, tags: dict[str, str], description: str) -> str:
        """Make the model in a folder of a run's artifacts a version."""
        source = f"{self._client.get_run(run_id).info.artifact_uri}/{folder}"
        made = self._client.create_model_version(name, source, run_id, tags=tags, description=description)
        return str(made.version)

    def drop(self, name: str, version: str) -> None:
        """Delete a version; its files stay in the artifacts of its run."""
        self._client.delete_model_version(name, version)

    def say(self, version: Any, tags: dict[str, str], description: str) -> None:
        """Bring what a version says up to date; an empty description leaves the one that is there."""
        for key, value in tags.items():
            if version.tags.get(key) != value:
                self._client.set_model_version_tag(version.name, version.version, key, value)
        if description and version.description != description:
            self._client.update_model_version(version.name, version.version, description)

    def drop_if_same(self, name: str, alias: str, version: str | None) -> None:
        """Take an alias away if it names this version."""
        if version is not None and self._aliased(name, alias) == version:
            self._client.delete_registered_model_alias(name, alias)

    def point(self, name: str, alias: str, version: str | None) -> None:
        """Let an alias name a version, or none."""
        now = self._aliased(name, alias)
        if version is not None and now != version:
            self._client.set_registered_model_alias(name, alias, version)
        elif version is None and now is not None:
            self._client.delete_registered_model_alias(name, alias)

    def _aliased(self, name: str, alias: str) -> str | None:
        """Return the version that an alias names."""
        from mlflow.exceptions import MlflowException

        try:
            return str(self._client.get_model_version_by_alias(name, alias).version)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise


@contextmanager
def _current_experiment(uri: str, experiment_id: str) -> Iterator[None]:
    """Let MLflow list a new prompt under an experiment: it takes the process's current one, and tags it in a thread."""
    import mlflow

    variable = "MLFLOW_EXPERIMENT_ID"
    before, before_uri = os.environ.get(variable), mlflow.get_tracking_uri()
    os.environ[variable] = experiment_id
    mlflow.set_tracking_uri(uri)
    try:
        yield
        for thread in threading.enumerate():
            if thread.name.startswith("link_prompt_to_experiment_thread"):
                thread.join()
    finally:
        mlflow.set_tracking_uri(before_uri)
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before
