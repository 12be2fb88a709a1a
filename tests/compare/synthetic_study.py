"""A synthetic study in the layout that the other stages write: correlated arms with chosen accuracies."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from whether.compare.compare import compare, reach_verdict
from whether.compare.curve_points import load_points
from whether.compare.results import load_results
from whether.config import CONF, Config, check, compose
from whether.records import (
    OWN,
    SAMPLED,
    Adherence,
    BaselineRecord,
    Example,
    FormatPlan,
    FormatRecord,
    Generation,
    Generations,
    Prediction,
    Task,
    Verdict,
    Violation,
    read_json,
    write_json,
    write_jsonl,
)
from whether.report.report import write_report

ROOT = Path(__file__).parents[2]
LABELS = ["add_to_playlist", "book_restaurant", "get_weather", "play_music", "rate_book", "search_creative_work",
          "search_screening_event"]  # fmt: skip
WORDS = ["put this song on my", "a table for six at the", "will it rain in", "some jazz by", "four stars for",
         "the novel", "when does the film start at"]  # fmt: skip
SUITE = {"discourse_marker": 0.62, "general_knowledge": 0.45, "code_line": 0.66, "step_inference": 0.44}
REALISTIC = {
    "base-zero_shot": 0.02, "base-few_shot": 0.22, "base-knn": 0.84,
    "lora-zero_shot": 0.93, "lora-few_shot": 0.90, "lora-knn": 0.935,
}  # fmt: skip
SECONDS = {"zero_shot": 0.021, "zero_shot_unconstrained": 0.021, "few_shot": 0.034, "knn": 0.112}
TOKENS = {"zero_shot": (96, 78), "zero_shot_unconstrained": (96, 78), "few_shot": (520, 502), "knn": (330, 78)}


@cache
def settings(*overrides: str) -> Config:
    """Compose the shipped conf/ with overrides, without baselines where these name none."""
    named = any(text.startswith(("baseline=", "task=")) for text in overrides)
    return check(yaml.safe_load(compose(overrides if named else ("baseline=[]", *overrides), conf=ROOT / CONF)))


def verdict_of(config: Config, artifacts: Path) -> Verdict:
    """Return the verdict alone, without the tables, pictures and page that `compare` writes with it."""
    points = load_points(config.curve, artifacts)
    return reach_verdict(config, load_results(config, artifacts), artifacts, points)


def write_study(
    artifacts: Path,
    *,
    accuracies: dict[str, float] | None = None,
    sizes: tuple[int, int, int] = (381, 104, 208),
    output: str = "label",
    invalid: dict[str, float] | None = None,
    robustness: bool = False,
    seed: int = 0,
) -> Path:
    """Write artifacts/ for the arms of `accuracies`.

    Each example has one difficulty that all arms share in part, so their errors are correlated as those of real arms.
    """
    accuracies, rng = accuracies or REALISTIC, np.random.default_rng(seed)
    examples = {
        split: [_example(split, number, output) for number in range(size)]
        for split, size in zip(("train", "dev", "test"), sizes, strict=True)
    }
    for split, rows in examples.items():
        write_jsonl(artifacts / "prepare" / f"{split}.jsonl", rows)
    task = Task(
        name="snips", output=output, metric="accuracy" if output == "label" else "exact_match",
        instruction="Predict the intent.", input_template="", labels=LABELS if output == "label" else [], schema=None,
        answer_pattern=None, max_new_tokens=12,
    )  # fmt: skip
    write_json(artifacts / "prepare" / "task.json", task)
    write_json(artifacts / "prepare" / "profile.json", _profile(examples))
    (artifacts / "model").mkdir(parents=True, exist_ok=True)
    (artifacts / "model" / "model.safetensors").write_bytes(b"weights")
    difficulty = {split: rng.random(len(rows)) for split, rows in examples.items()}
    for name, accuracy in accuracies.items():
        if "-" not in name:
            _write_baseline(artifacts, name, len(examples["train"]))
        _write_arm(
            artifacts, name, accuracy, examples=examples, difficulty=difficulty, rng=rng,
            invalid=(invalid or {}).get(name, 0.0),
        )  # fmt: skip
        if "-" not in name:
            continue
        write_json(artifacts / "prompt" / name.split("-")[1] / "formats.json", FormatPlan())
        if robustness:
            _write_robustness(artifacts, name, accuracy, examples["dev"])
    for checkpoint in dict.fromkeys(name.split("-")[0] for name in accuracies if "-" in name):
        _write_checkpoint(artifacts, checkpoint, sizes[0], rng)
    return artifacts


def _example(split: str, number: int, output: str) -> Example:
    kind = number % len(LABELS)
    text = f"{WORDS[kind]} {split} {number}"
    return Example(f"{split}-{number}", {"utterance": text}, LABELS[kind] if output == "label" else text.upper())


def _write_arm(
    artifacts: Path, name: str, accuracy: float, *, examples: dict[str, list[Example]],
    difficulty: dict[str, Any], invalid: float, rng: np.random.Generator,
) -> None:  # fmt: skip
    prompt = name.split("-")[1] if "-" in name else ""
    rows = []
    for split in ("dev", "test"):
        for example, hard in zip(examples[split], difficulty[split], strict=True):
            own = rng.random()
            right = (hard if rng.random() < 0.75 else own) < accuracy
            valid = right or rng.random() >= invalid
            answer = example.target if right else LABELS[(LABELS.index(example.target) + 1 + int(own * 6)) % 7] if (
                example.target in LABELS) else "WRONG"  # fmt: skip
            tokens, cached = TOKENS.get(prompt, (0, 0))
            rows.append(
                Prediction(
                    id=example.id, split=split, output=answer if valid else f"The utterance asks <b>for</b> {own:.2f}",
                    answer=answer if valid else None, target=example.target, score=float(right), valid=bool(valid),
                    prompt=f"<|im_start|>user\n{example.inputs['utterance']}",
                    input_tokens=tokens + int(own * 9) if prompt else 0, cached_tokens=cached,
                    output_tokens=4 + int(own * 4) if prompt else 0,
                    seconds=SECONDS.get(prompt, 1e-5) * (0.8 + 0.4 * own),
                )
            )  # fmt: skip
    write_jsonl(artifacts / "score" / name / "predictions.jsonl", rows)
    alone = SECONDS.get(prompt, 2e-4)
    measured = {"latency_p50": 4 * alone, "latency_p95": 5 * alone, "peak_memory": 1.1e9}
    write_json(artifacts / "score" / name / "metrics.json", {"dev": {}, "test": {}, **measured})


def _write_baseline(artifacts: Path, name: str, labels: int) -> None:
    folder = artifacts / "baseline" / "fitted" / name
    write_json(folder / "baseline.json", BaselineRecord(name, {}, fitted=True, parameters=10_000, disk=1_300_000))
    write_json(folder / "metrics.json", {"labels_used": labels, "train_seconds_with_evaluation": 1.6})


def generations(key: str, split: Any, *texts: str, variant: str = "") -> Generations:
    """What came back for one request."""
    samples = [Generation(None, text, 10, 0, 2, 0.1) for text in texts]
    return Generations(key, split, 0, "", samples, variant=variant)


def _write_robustness(artifacts: Path, name: str, accuracy: float, dev: Sequence[Example]) -> None:
    """Answers to 30 examples of dev in the arm's own format and others, and five samples each; one of them differs."""
    formats = {OWN: 1.0, "input_colon": 1.0, "labels_upper": 0.6}
    if "zero" not in name:
        formats["demonstrations_reversed"] = 0.9
    task = read_json(artifacts / "prepare" / "task.json", Task)
    rows, lines = dev[:30], []
    for form, share in formats.items():
        right = round(share * accuracy * len(rows))
        lines += [
            generations(row.id, "dev", row.target if place < right else "WRONG", variant=form)
            for place, row in enumerate(rows)
        ]
    right = round(accuracy * len(rows))
    for place, row in enumerate(rows):
        text = row.target if place < right else "WRONG"
        lines.append(generations(row.id, "dev", *[text] * 4, "nothing", variant=SAMPLED))
    tried = [FormatRecord(form, task, {}) for form in formats if form != OWN]
    plan = FormatPlan([row.id for row in rows], tried, {}, 5, 0.7)
    write_json(artifacts / "prompt" / name.split("-")[1] / "formats.json", plan)
    write_jsonl(artifacts / "robustness" / name / "generations.jsonl", [line.as_line() for line in lines])
    violation = Violation("a label with text around it", 7, ["It is <b>get_weather</b>", ""])
    adherence = Adherence(312, [violation] if accuracy < 0.5 else [])
    write_json(artifacts / "score" / name / "adherence.json", adherence)


def _write_checkpoint(artifacts: Path, name: str, pool: int, rng: np.random.Generator) -> None:
    tuned = name != "base"
    training = {
        "labels_used": pool if tuned else 0,
        "train_seconds_with_evaluation": 171.5 if tuned else 0.0,
        "trained_tokens": 89_000 * tuned,
        "computed_tokens": 27_000 * tuned,
        "flops": 1.23e13 * tuned,
        "energy": None,
        "peak_memory": 2_100_000_000 if tuned else None,
        "peak_device_memory": None,
    }
    write_json(artifacts / "finetune" / name / "metrics.json", training)
    if tuned:
        history: list[dict[str, Any]] = []
        for step in range(1, 73):
            history.append({"step": step, "loss": float(1.9 * np.exp(-step / 14) + 0.03 + 0.02 * rng.random())})
            if step % 12 == 0:
                history.append({"step": step, "dev_loss": float(1.5 * np.exp(-step / 13) + 0.06)})
        write_jsonl(artifacts / "finetune" / name / "history.jsonl", history)
    samples = [
        {"task": task, "doc_id": number, "score": float(rng.random() < rate - 0.03 * tuned)}
        for task, rate in SUITE.items()
        for number in range(60)
    ]
    means = {task: float(np.mean([row["score"] for row in samples if row["task"] == task])) for task in SUITE}
    results = {task: {"metric": "acc", "value": mean, "n": 60} for task, mean in means.items()}
    folder = artifacts / "benchmark" / name
    write_jsonl(folder / "samples.jsonl", samples)
    write_json(folder / "results.json", results)
    measured = {"retention": float(np.mean(list(means.values()))), "perplexity": 24.1 + 0.9 * tuned}
    serving = {"tokens_per_second": 905.0 - 40 * tuned, "peak_memory": 1.0e9, "disk": 19.6e6 if tuned else 0}
    write_json(folder / "metrics.json", measured | serving)


def _profile(examples: dict[str, list[Example]]) -> dict[str, Any]:
    """Return the keys of artifacts/prepare/profile.json that the report shows."""
    spread = {"mean": 9.4, "p50": 9.0, "p95": 15.0, "max": 24.0}
    splits = {}
    for split, rows in examples.items():
        counts = {label: sum(row.target == label for row in rows) for label in LABELS}
        labelled = any(counts.values())
        splits[split] = {
            "examples": len(rows), "majority_share": max(counts.values()) / len(rows) if labelled else None,
            "labels": counts if labelled else None, "input_tokens": spread, "target_tokens": spread,
        }  # fmt: skip
    used = sum(len(rows) for rows in examples.values())
    rows = {
        "read": used + 4, "collected": 0, "bad": 0, "duplicates": 4, "other_split": 0, "not_sampled": 0, "recent": 0,
        "used": used,
    }  # fmt: skip
    units = {split: len(found) for split, found in examples.items()}
    notes = [f"{used + 4} rows read, {used} used", "left out: 4 equal inputs and equal answer as an earlier row"]
    return {"rows": rows, "units": units, "warnings": [], "notes": notes, "splits": splits}


def compare_and_report(config: Config, artifacts: Path, folder: Path) -> None:
    """Write the verdict and its page into one folder."""
    compare(config, artifacts=artifacts, folder=folder)
    write_report(folder, artifacts=artifacts, folder=folder)
