"""A complete, synthetic set of records in the layout that the stages write."""

import random
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import yaml

from tests.shipped_metrics import metric
from whether.config import CONF, Config, compose, write_params
from whether.metrics.catalogue import measurement  # fmt: skip
from whether.records import (  # fmt: skip
    ArmRecord,
    Comparison,
    Crossover,
    CurveLevel,
    CurveValue,
    Example,
    LearningCurve,
    Prediction,
    Provenance,
    Task,
    TrainingCost,
    Verdict,
    write_json,
    write_jsonl,
    write_text,
)
from whether.tracking.publish import Receipt

ROOT = Path(__file__).parents[2]
ACCURACY = metric("accuracy")
LABELS = ["add_to_playlist", "book_restaurant", "get_weather"]
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="320" height="120"><line y2="110" x2="300" stroke="black"/></svg>'
QUALITY = {"zero_shot": (0.0, 0.88), "few_shot": (0.2, 0.86), "knn": (0.84, 0.92)}
"""Prompt → accuracy on base and on lora."""
CREATED = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)


class Records:
    """A folder like a repository after `dvc repro`."""

    def __init__(self, root: Path, config: Config):
        self.root, self.config, self.artifacts = root, config, root / "artifacts"
        self.receipt: Receipt | None = None
        self.examples = {
            split: [
                Example(f"{split}-{number}", {"text": f"utterance {number} of {split}"}, LABELS[number % 3])
                for number in range(count)
            ]
            for split, count in {"train": 60, "dev": 15, "test": 30}.items()
        }

    def write_all(self) -> None:
        self.root.mkdir()
        write_params(compose(["baseline=[]"], conf=ROOT / CONF), self.root / "params.yaml")
        write_text(
            self.root / "dvc.lock",
            yaml.safe_dump(
                {"stages": {"prepare": {"outs": [{"path": "artifacts/prepare", "md5": "0" * 32 + ".dir"}]}}}
            ),
        )
        self.write_prepare()
        for checkpoint in self.config.checkpoints:
            self.write_finetune(checkpoint)
            self.write_benchmark(checkpoint)
            for prompt in self.config.prompts:
                self.write_arm(checkpoint, prompt)
        self.write_curve()
        self.write_verdict()

    def write_prepare(self) -> None:
        folder = self.artifacts / "prepare"
        for split, rows in self.examples.items():
            write_jsonl(folder / f"{split}.jsonl", rows)
        task = Task("snips", "label", "accuracy", "Which intent?", "", LABELS, None, None, 16, inputs=["text"])
        write_json(folder / "task.json", task)
        rows = {"read": 110, "duplicates": 5, "used": 105}
        write_json(folder / "profile.json", {"rows": rows, "units": {"test": 28}, "notes": ["5 left out"]})
        write_text(folder / "labels.svg", SVG)

    def write_finetune(self, name: str, seed: int = 0) -> None:
        folder, numbers = self.artifacts / "finetune" / name, random.Random(f"{name}-{seed}")
        write_json(
            folder / "checkpoint" / "checkpoint.json", {"kind": "base" if name == "base" else "adapter", "name": name}
        )
        if name == "base":
            write_json(folder / "metrics.json", {"labels_used": 0, "train_seconds": 0.0, "dev_loss": None})
            return
        rows = []
        for step in range(1, 41):
            loss = 3 * 0.9**step + 0.05 * numbers.random()
            rows.append(
                {"step": step, "epoch": step / 20, "loss": loss, "learning_rate": 5e-4 * (1 - step / 41),
                 "grad_norm": 1.0, "tokens": 900, "computed_tokens": 500, "seconds": 1.5}
            )  # fmt: skip
            if step % 10 == 0:
                rows.append({"step": step, "epoch": step / 20, "dev_loss": loss * 1.1, "dev_exact": 0.9, "seconds": 2.0,
                             "peak_memory": 2**30, "peak_device_memory": None})  # fmt: skip
        write_jsonl(folder / "history.jsonl", rows)
        write_json(folder / "metrics.json", {"labels_used": 60, "train_seconds": 60.0, "dev_loss": 0.05, "steps": 40})
        write_text(folder / "loss.svg", SVG)
        write_text(
            folder / "checkpoint" / "adapter" / "adapter_model.safetensors", f"weights {seed}, which no run shows"
        )

    def write_arm(self, checkpoint: str, prompt: str, seed: int = 0) -> None:
        name, quality = f"{checkpoint}-{prompt}", QUALITY[prompt][checkpoint != "base"]
        numbers = random.Random(f"{name}-{seed}")
        predictions = []
        for split in ("dev", "test"):
            for row in self.examples[split]:
                right = numbers.random() < quality
                answer = row.target if right else None
                output = row.target if right else "Sure! I can help with that."
                predictions.append(
                    Prediction(row.id, split, output, answer, row.target, float(right), right,
                               f"<|im_start|>user\n{row.inputs['text']}<|im_end|>\n", 120, 90, 5, 0.1 + right / 100)
                )  # fmt: skip
        folder = self.artifacts / "score" / name
        write_jsonl(folder / "predictions.jsonl", predictions)
        write_text(self.artifacts / "generate" / name / "prompt.txt", predictions[0].prompt)
        write_json(self.artifacts / "generate" / name / "latency.json", {})
        split_metrics = {"accuracy": quality, "macro_f1": quality, "valid_rate": 0.9, "input_tokens": 120.0}
        write_json(
            folder / "metrics.json",
            {"dev": split_metrics, "test": split_metrics, "latency_p50": 0.2, "latency_p95": None, "n_test": 30},
        )

    def write_benchmark(self, checkpoint: str) -> None:
        folder = self.artifacts / "benchmark" / checkpoint
        write_json(
            folder / "metrics.json",
            {"retention": 0.515, "n_documents": 120, "perplexity": None, "tokens_per_second": 900.0,
             "tokens_per_second_decode": 9.0, "latency_p50": 0.7, "disk": 0 if checkpoint == "base" else 19_600_000},
        )  # fmt: skip
        tasks = {"code_line_description": 0.68, "date_understanding,none": 0.35}
        write_json(
            folder / "results.json",
            {task: {"metric": "acc", "value": value, "stderr": 0.06, "n": 60} for task, value in tasks.items()},
        )
        write_jsonl(folder / "samples.jsonl", [{"task": "date_understanding", "doc_id": 0, "score": 1.0}])

    def write_curve(self) -> None:
        points = {}
        for labels in self.config.curve.labels:
            for seed in self.config.curve.seeds:
                means = {"lora-zero_shot": 1 - 8 / labels, "base-knn": 0.7}
                point, folder = f"{labels}-{seed}", self.artifacts / "curve"
                write_json(folder / "data" / point / "point.json", {"labels": labels, "seed": seed})
                write_json(folder / "checkpoint" / point / "metrics.json", {"steps": 16})
                points[point] = {"dev": means, "test": means}
        write_json(self.artifacts / "compare" / "curve_points.json", points)

    def learning_curve(self) -> LearningCurve:
        """A curve on which tuning overtakes at 32 labels."""
        levels = []
        for labels in self.config.curve.labels:
            tuned = ACCURACY.measurement(1 - 8 / labels, (0.5, 0.99), 100)
            prompting = ACCURACY.measurement(0.7, (0.6, 0.8), 100)
            difference = ACCURACY.measurement(0.3 - 8 / labels, None, 100)
            values = CurveValue(tuned, [0.1, 0.2]), CurveValue(prompting, [0.7, 0.7])
            levels.append(CurveLevel(labels, labels / 10, *values, {"base-knn": 2}, difference))
        crossover = Crossover("at", 32, 25, None, {"at": 1.0}, 3.2)
        seeds = self.config.curve.seeds
        return LearningCurve("accuracy", "lora", seeds, ["lora overtakes."], levels, crossover=crossover)

    def write_verdict(self, created: datetime = CREATED, usd_per_hour: float = 0.1) -> None:
        arms = {}
        for checkpoint in self.config.checkpoints:
            for prompt in self.config.prompts:
                quality = QUALITY[prompt][checkpoint != "base"]
                interval = (max(0, quality - 0.05), min(1, quality + 0.05))
                arms[f"{checkpoint}-{prompt}"] = ArmRecord(
                    checkpoint, prompt, "prompt" if checkpoint == "base" else "fine_tune",
                    {
                        "accuracy": ACCURACY.measurement(quality, interval, 30),
                        "usd_per_1k": measurement("usd_per_1k", usd_per_hour * 0.05),
                        "latency_p50": measurement("latency_p50", 0.2),
                        "latency_p95": measurement("latency_p95", None),
                        "retention": measurement("retention", 0.5, (0.45, 0.55), 480),
                    },
                )  # fmt: skip
        verdict = Verdict(
            answer="fine_tune",
            recommended_arm="lora-zero_shot",
            reasons=[
                "lora-zero_shot answers 88.0% of the test examples right, base-knn 84.0%: 4.0 points more.",
                "It costs 0.005 USD per 1,000 requests, half of what the best prompt on the base model costs.",
            ],
            task=self.config.task.name,
            model=self.config.model.name,
            arms=arms,
            training={"lora": TrainingCost(labels=60, seconds=60.0, usd_labels=6.0, usd_machine=0.002, usd=6.002)},
            metric="accuracy",
            metrics={"accuracy": ACCURACY.info},
            representatives={"prompt": f"base-{list(self.config.prompts)[-1]}", "fine_tune": "lora-zero_shot"},
            learning_curve=self.learning_curve() if self.config.curve.labels else None,
            comparisons=[
                Comparison(
                    "lora-zero_shot", "base-knn", "accuracy", 0.04, 0.005, 0.075, 0.01, 0.02, 30, "a_better", "decision"
                )
            ],
            provenance=Provenance("be204b6c" * 5, True, "a" * 32, "b" * 64, {}, created.isoformat(), dtype="bfloat16"),
        )  # fmt: skip
        folder = self.artifacts / "compare"
        write_json(folder / "verdict.json", verdict)
        write_json(folder / "metrics.json", {"accuracy": 0.88})
        write_text(folder / "leaderboard.csv", "arm,accuracy\nlora-zero_shot,0.88\n")
        write_text(folder / "learning_curve.csv", "labels,seed\n20,0\n")
        report = self.artifacts / "report"
        write_text(report / "report.html", "<!doctype html><title>Report</title><h1>Fine-tune the model</h1>")
        write_text(report / "plots" / "accuracy.svg", SVG)
        write_text(report / "plots" / "learning_curve.svg", SVG)

    def tracked_at(self, uri: str, **changes: object) -> Config:
        """Return the settings with another tracking server."""
        return replace(self.config, tracking=replace(self.config.tracking, uri=uri, **changes))
