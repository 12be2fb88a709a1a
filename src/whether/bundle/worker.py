"""The process in which a bundle answers for the retraining job, which holds no model itself: see `BundleProcess`.

python -m whether.bundle.worker <bundle> <examples> <out> <requests>

Reads JSON lines of `whether.records.Example` and writes `Prediction` lines to <out>; with <requests> above 0 also what
so many requests take, to <out>.measured.json. A person asks by `whether predict`.
"""

from dataclasses import replace
from pathlib import Path

from whether import entry
from whether.bundle.bundle import load_bundle
from whether.bundle.predictor import BundlePredictor
from whether.config import load
from whether.records import ARTIFACTS, Example, read_jsonl, write_json, write_jsonl


def main(argv: list[str]) -> None:
    """Answer, and measure where it is asked for."""
    name, rows, out, requests = argv
    config = load()
    predictor = BundlePredictor(load_bundle(Path(config.retrain.folder) / "bundles" / name), ARTIFACTS / "model")
    examples = read_jsonl(Path(rows), Example)
    write_jsonl(Path(out), [replace(line, prompt="") for line in predictor.answer(examples)])
    if int(requests):
        measured = predictor.measure(examples, int(requests), config.pricing)
        write_json(Path(out).with_suffix(".measured.json"), measured)


if __name__ == "__main__":
    entry.run(main)
