"""Answers of the champion to the rows of a file, as JSON lines on standard output.

    python -m pipelines.answer rows.jsonl > answers.jsonl              the champion
    python -m pipelines.answer rows.csv --bundle 3f2a9c1b7d55          another bundle of retrain/bundles/

A row has the columns that conf/task names as inputs; each answer is {"inputs", "answer", "valid", "output"}, in the
order of rows. --examples, --out and --requests are how the retraining job asks.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from whether import entry
from whether.bundle.bundle import load_bundle
from whether.bundle.champion import read_champion
from whether.bundle.predictor import BundlePredictor
from whether.config import load
from whether.errors import DataError
from whether.prepare.rows import example_id, read_inputs
from whether.records import ARTIFACTS, Example, Prediction, read_jsonl, write_json, write_jsonl
from whether.sources.tables import location, read_rows


def main(argv: list[str]) -> None:
    """Answer a file."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.answer", description="Answers of the champion.")
    parser.add_argument("rows", nargs="?", type=Path, help=".jsonl, .csv or .parquet with the task's input columns")
    parser.add_argument("--bundle", help="id of a bundle (default: the champion)")
    parser.add_argument("--examples", type=Path, help="JSON lines of whether.records.Example instead of rows")
    parser.add_argument("--out", type=Path, help="write whether.records.Prediction lines there")
    parser.add_argument("--requests", type=int, help="also measure so many requests, into <out>.measured.json")
    given = parser.parse_args(argv)
    if (given.rows is None) == (given.examples is None) or (given.requests and not given.out):
        parser.error("give a file of rows, or --examples; --requests needs --out")
    config = load()
    folder = Path(config.retrain.folder)
    bundle = load_bundle(folder / "bundles" / (given.bundle or read_champion(folder).champion))
    examples = read_jsonl(given.examples, Example) if given.examples else []
    if given.rows:
        for line, row in read_rows(given.rows):
            try:
                inputs = read_inputs(config.task, row)
            except ValueError as error:
                raise DataError(f"{location(given.rows, line)}: {error}") from None
            examples.append(Example(example_id(inputs), inputs, ""))
    answerer = BundlePredictor(bundle, ARTIFACTS / "model")
    answers = answerer.answer(examples)
    if given.out:
        write_jsonl(given.out, [replace(line, prompt="") for line in answers])
        if given.requests:
            write_json(
                given.out.with_suffix(".measured.json"), answerer.measure(examples, given.requests, config.pricing)
            )
        return
    for example, found in zip(examples, answers, strict=True):
        print(json.dumps(shown(example, found), ensure_ascii=False))


def shown(example: Example, found: Prediction) -> dict[str, object]:
    """Return an answer as a line of output."""
    return {"inputs": example.inputs, "answer": found.answer, "valid": found.valid, "output": found.output}


if __name__ == "__main__":
    entry.run(main)
