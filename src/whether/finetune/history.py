"""What happened in training, step by step: history.jsonl, loss.csv and loss.svg."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whether.records import write_jsonl, write_text, writing


@dataclass(frozen=True)
class Step:
    """One optimizer step: a line of history.jsonl."""

    step: int
    epoch: float
    loss: float
    """Mean over the batch's answer tokens, before the step."""
    learning_rate: float
    grad_norm: float
    """Before clipping."""
    tokens: int
    """Of the batch's prompts and answers, as they are counted in requests."""
    computed_tokens: int
    """Positions that were computed: the shared prefix counts once, padding counts."""
    seconds: float
    """Wall time of the step."""
    micro_batch_size: int
    """Examples that went through the model at once, at most, where memory was least: halved whenever it ran out."""
    flops: float
    """Floating-point operations: counted in the first step, from there by computed tokens."""
    energy: float | None
    """Joules; None where the machine does not tell."""


@dataclass(frozen=True)
class Evaluation:
    """The model on dev after a step: a line of history.jsonl."""

    step: int
    epoch: float
    dev_loss: float
    """Mean over all answer tokens of dev."""
    dev_token_accuracy: float
    """Share of answer tokens that are the most likely one, given the right answer so far."""
    dev_exact: float
    """Share of examples of which all answer tokens are: exactly those that greedy decoding answers right."""
    seconds: float
    energy: float | None
    """Joules; None where the machine does not tell."""
    peak_memory: int
    """Bytes of resident memory, at most so far in this process."""
    peak_device_memory: int | None
    """Bytes allocated on the accelerator, at most so far; None on CPU."""


@dataclass(frozen=True)
class History:
    """Steps and evaluations in order."""

    steps: list[Step]
    evaluations: list[Evaluation]


def from_log(log: Iterable[dict[str, Any]]) -> History:
    """Read Trainer's log: it is saved with each checkpoint, so no step of a resumed run is lost or doubled."""
    steps, evaluations = list[Step](), list[Evaluation]()
    for entry in log:
        if "loss" in entry:
            steps.append(Step(**{key: entry[key] for key in Step.__dataclass_fields__}))
        elif "eval_loss" in entry:
            evaluations.append(
                Evaluation(
                    step=entry["step"],
                    epoch=entry["epoch"],
                    dev_loss=entry["eval_loss"],
                    dev_token_accuracy=entry["eval_token_accuracy"],
                    dev_exact=entry["eval_exact"],
                    seconds=entry["eval_runtime"],
                    energy=entry["eval_energy"],
                    peak_memory=entry["peak_memory"],
                    peak_device_memory=entry["peak_device_memory"],
                )
            )
    return History(steps, evaluations)


def write_history(history: History, folder: Path) -> None:
    """Write history.jsonl, loss.csv (step, split, loss) and loss.svg."""
    lines: list[Step | Evaluation] = [*history.steps, *history.evaluations]
    write_jsonl(folder / "history.jsonl", sorted(lines, key=lambda line: (line.step, isinstance(line, Evaluation))))
    losses = [(step.step, "train", step.loss) for step in history.steps]
    losses += [(evaluation.step, "dev", evaluation.dev_loss) for evaluation in history.evaluations]
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([("step", "split", "loss"), *losses])
    write_text(folder / "loss.csv", table.getvalue())
    _plot(history, folder / "loss.svg")


def _plot(history: History, path: Path) -> None:
    """Draw both losses; the same history gives the same bytes."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": "whether", "svg.fonttype": "none"}), writing(path):
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        axes = figure.subplots()
        axes.plot([s.step for s in history.steps], [s.loss for s in history.steps], label="train", linewidth=1)
        axes.plot([e.step for e in history.evaluations], [e.dev_loss for e in history.evaluations], "o-", label="dev")
        axes.set(xlabel="optimizer step", ylabel="loss (nats per answer token)", yscale="log")
        axes.legend(frameon=False)
        figure.savefig(path, format="svg", metadata={"Date": None})
