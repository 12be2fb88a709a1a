"""`whether predict`: answers of the champion to the rows of a file."""

import json
from pathlib import Path

from whether.bundle.bundle import load_bundle
from whether.bundle.champion import read_champion
from whether.bundle.predictor import BundlePredictor
from whether.config import Config, load
from whether.errors import DataError, UsageError
from whether.prepare.rows import example_id, read_inputs
from whether.printing.terminal import say
from whether.records import ARTIFACTS, Example
from whether.sources.tables import location, read_rows


def predict(file: Path, bundle: str | None) -> None:
    """Print an answer for each row as a JSON line: inputs, answer, whether it is valid, and the model's own output; of
    a row that was not answered the reason, as `error`.

    `bundle` names a folder of retrain/bundles/; None is the champion. Raises DataError for a row that lacks a column.
    """
    if not file.is_file():
        raise UsageError(f"whether predict: {str(file)!r} is not a file")
    config = load()
    folder = Path(config.retrain.folder)
    found = load_bundle(folder / "bundles" / (bundle or read_champion(folder).champion))
    examples = read_examples(file, config)
    answers = BundlePredictor(found, ARTIFACTS / "model").answer(examples)
    for example, answer in zip(examples, answers, strict=True):
        shown = {"inputs": example.inputs, "answer": answer.answer, "valid": answer.valid, "output": answer.output}
        shown |= {"error": answer.error} if answer.error else {}
        say(json.dumps(shown, ensure_ascii=False))


def read_examples(file: Path, config: Config) -> list[Example]:
    """Return the rows of a file as examples without a target."""
    examples = []
    for line, row in read_rows(file, config.task.source):
        try:
            inputs = read_inputs(config.task, row)
        except ValueError as error:
            raise DataError(f"{location(file, line)}: {error}") from None
        examples.append(Example(example_id(inputs), inputs, ""))
    return examples
