"""Bundles answer in their own process, so that the job holds no model while the pipeline runs; answers are kept."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from whether.errors import EngineError
from whether.records import Example, Prediction, read_json, read_jsonl, write_jsonl


class BundleProcess:
    """Gets the answers of bundles, and keeps them in retrain/answers/<bundle>.jsonl."""

    def __init__(self, folder: Path, keep: bool = True):
        self._folder, self._keep = folder, keep

    def predict(self, bundle: str, examples: Sequence[Example], known: Sequence[Prediction] = ()) -> list[Prediction]:
        """Return a bundle's answers in the order of the examples. `known` are the answers from when it was made.

        Raises EngineError where the bundle cannot answer.
        """
        file = self._folder / "answers" / f"{bundle}.jsonl"
        kept = [*known, *(read_jsonl(file, Prediction) if file.exists() else [])]
        answers = {(line.id, line.target): line for line in kept}
        missing = [example for example in examples if (example.id, example.target) not in answers]
        if missing:
            fresh = self._run(bundle, missing)
            answers |= {(line.id, line.target): line for line in fresh}
            if self._keep:
                given = [line for line in fresh if not line.error]  # the others may be answered another time
                write_jsonl(file, [*(read_jsonl(file, Prediction) if file.exists() else []), *given])
        return [answers[example.id, example.target] for example in examples]

    def measure(self, bundle: str, examples: Sequence[Example], requests: int) -> dict[str, float]:
        """Return latency_p95, usd_per_1k and peak_memory of a bundle, measured now."""
        with tempfile.TemporaryDirectory() as scratch:
            self._run(bundle, examples[:requests], requests, Path(scratch))
            found: dict[str, float] = read_json(Path(scratch) / "out.measured.json")
            return found

    def _run(
        self, bundle: str, examples: Sequence[Example], requests: int = 0, scratch: Path | None = None
    ) -> list[Prediction]:
        with tempfile.TemporaryDirectory() as own:
            place = scratch or Path(own)
            write_jsonl(place / "in.jsonl", examples)
            command = [sys.executable, "-m", "whether.bundle.worker", bundle]
            command += [str(place / "in.jsonl"), str(place / "out.jsonl"), str(requests)]
            done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
            if done.returncode:
                lines = done.stderr.strip().splitlines()
                reason = next(
                    (line for line in reversed(lines) if line.startswith("error: ")), lines[-1] if lines else ""
                )
                raise EngineError(f"the bundle {bundle} cannot answer: {reason.removeprefix('error: ')}")
            return read_jsonl(place / "out.jsonl", Prediction)
