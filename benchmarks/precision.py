"""Do arms answer the same in bfloat16 as in float32?

    python benchmarks/precision.py [--artifacts artifacts] [--arms base-knn lora-zero_shot] [--json]

Needs a finished pipeline (`whether run`). Each arm's checkpoint is loaded in both precisions and answers the test
split again; what was tuned stays as it is. It prints a row an arm: the share of answers that are the same text, the
mean score in each precision, and bfloat16 minus float32 on the same examples with its interval. --json prints one
object: arm → those numbers.
"""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np

from whether.config import Config, load
from whether.generate.generate import answer_requests
from whether.generate.load import load_checkpoint
from whether.metrics.format import format_points
from whether.outputs.decoding import build_decoding, parse_generations
from whether.outputs.kinds import output_of
from whether.outputs.output import score_answer
from whether.records import CHECKPOINT, Dtype, Example, Request, Task, read_json, read_jsonl
from whether.stats.inference import score_difference
from whether.stats.intervals import InferenceSettings, PairedDifference


class ArmAnswers(NamedTuple):
    """What an arm answered to the test split in one precision, in the order of its requests."""

    texts: list[str]
    scores: list[float]
    """In [0, 1]; 1.0 is right."""


class PrecisionComparison(NamedTuple):
    """An arm in both precisions."""

    by_dtype: dict[Dtype, ArmAnswers]

    @property
    def equal(self) -> float:
        """Share of answers that are the same text."""
        texts = zip(*(answers.texts for answers in self.by_dtype.values()), strict=True)
        return float(np.mean([one == other for one, other in texts]))

    @property
    def scores(self) -> dict[Dtype, float]:
        """Mean score by precision."""
        return {dtype: float(np.mean(answers.scores)) for dtype, answers in self.by_dtype.items()}

    @property
    def difference(self) -> PairedDifference:
        """The mean score in bfloat16 minus that in float32."""
        by_dtype = {dtype: np.array(answers.scores) for dtype, answers in self.by_dtype.items()}
        return score_difference(by_dtype["bfloat16"], by_dtype["float32"], InferenceSettings())


def main() -> None:
    """Answer and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"))
    parser.add_argument("--arms", nargs="+", help="<checkpoint>-<prompt> of params.yaml; default: all on this machine")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    options = parser.parse_args()
    config = load()
    local = [name for name in config.arm_names if not config.checkpoints[name.partition("-")[0]].served]
    compared = compare_precisions(config, options.artifacts, options.arms or local)
    if options.json:
        print(json.dumps({name: summary(found) for name, found in compared.items()}))
        return
    print("| arm | examples | same answer | score, float32 | score, bfloat16 | difference (95% interval) |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, found in compared.items():
        scores, difference = found.scores, found.difference
        low, high = (format_points(end) for end in difference.interval)
        print(
            f"| {name} | {difference.n} | {found.equal:.1%} | {scores['float32']:.1%} | {scores['bfloat16']:.1%} |"
            f" {format_points(difference.difference)} ({low} to {high}) |"
        )


def compare_precisions(config: Config, artifacts: Path, arms: list[str]) -> dict[str, PrecisionComparison]:
    """Return each arm in both precisions; a checkpoint is loaded once for each."""
    found: dict[str, dict[Dtype, ArmAnswers]] = {name: {} for name in arms}
    task = read_json(artifacts / "prepare" / "task.json", Task)
    targets = {row.id: row.target for row in read_jsonl(artifacts / "prepare" / "test.jsonl", Example)}
    for checkpoint in dict.fromkeys(name.partition("-")[0] for name in arms):
        weights = artifacts / "finetune" / checkpoint / CHECKPOINT
        for dtype in get_args(Dtype):
            settings = dataclasses.replace(config.model, dtype=dtype)
            loaded = load_checkpoint(checkpoint, artifacts / "model", weights, settings, None)
            for name in (name for name in arms if name.partition("-")[0] == checkpoint):
                prompt = name.partition("-")[2]
                asked = read_jsonl(artifacts / "prompt" / prompt / "requests.jsonl", Request)
                answers = answer_requests(loaded, [one for one in asked if one.split == "test"], f"{name}, {dtype}")
                decoding = build_decoding(prompt, config.prompts[prompt], task, config.seed)
                parsed = parse_generations(task, decoding, answers)
                found[name][dtype] = ArmAnswers(
                    [reply.generation.text for _, reply in parsed],
                    [score_answer(output_of(task), reply.answer, targets[one.id]) for one, reply in parsed],
                )
    return {name: PrecisionComparison(by_dtype) for name, by_dtype in found.items()}


def summary(found: PrecisionComparison) -> dict[str, object]:
    """Return the numbers of an arm."""
    low, high = found.difference.interval
    return {
        "n": found.difference.n, "equal": found.equal, "scores": found.scores,
        "difference": found.difference.difference, "ci_low": low, "ci_high": high,
    }  # fmt: skip


if __name__ == "__main__":
    main()
