"""A bundle as an MLflow model ("models from code"): MLflow runs this file when it loads one. Nothing is unpickled.

The base model is not in it: it is read from the folder in WHETHER_MODEL, artifacts/model where that is not set, and its
hash has to be the one that the bundle was made with.
"""

import os
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd

from whether.bundle.bundle import load_bundle
from whether.bundle.predictor import BundlePredictor
from whether.prepare.rows import example_id
from whether.records import Example


class BundleModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Answers the task's inputs as the bundle's arm does."""

    def load_context(self, context: Any) -> None:
        """Load the weights. Raises EngineError where the base model is another one."""
        bundle = load_bundle(Path(context.artifacts["bundle"]))
        self.answerer = BundlePredictor(bundle, Path(os.environ.get("WHETHER_MODEL", "artifacts/model")), keep=False)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002
        """Return answer (None if nothing valid was found), valid and output for each row of the task's inputs."""
        variables = self.answerer.task.inputs
        rows = [{name: str(row[name]) for name in variables} for row in model_input.to_dict("records")]
        examples = [Example(example_id(inputs), inputs, "") for inputs in rows]
        answers = {line.id: line for line in self.answerer.answer(list({line.id: line for line in examples}.values()))}
        found = [answers[example.id] for example in examples]
        return pd.DataFrame(
            {
                "answer": [line.answer for line in found],
                "valid": [line.valid for line in found],
                "output": [line.output for line in found],
            }
        )


mlflow.models.set_model(BundleModel())
