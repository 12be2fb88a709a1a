"""The main job without the pipeline: one model, prompted and fine-tuned, answers the same examples; which is better?

    whether fetch                                # once: data, model
    python examples/minimal.py                   # SNIPS with SmolLM2-135M-Instruct
    python examples/minimal.py task=tickets      # arguments are overrides of conf/, as for `whether run`

What it makes is in build/minimal: the model, the splits and the checkpoint, in the layout of artifacts/.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from whether import entry
from whether.config import build, check, compose
from whether.engine.local import LocalModel
from whether.finetune.finetune import finetune
from whether.metrics.format import format_p_value, format_percent, format_points, format_signed
from whether.outputs.decoding import constrained
from whether.outputs.kinds import output_of
from whether.outputs.output import score_answer
from whether.prepare.prepare import prepare
from whether.prompt.strategies import Strategy, few_shot, knn, zero_shot
from whether.prompt.training import write_training_set
from whether.records import Example, Task, output_folder, read_json, read_jsonl
from whether.stats.inference import score_difference
from whether.stats.intervals import Floats, InferenceSettings

FOLDER = Path("build/minimal")


def main(overrides: list[str]) -> None:
    """Print the accuracy of the best prompt and of the tuned model, and their difference with its 95% interval."""
    # 1. Settings: conf/ with overrides. A typo or a value out of range fails here.
    config = check(yaml.safe_load(compose(overrides)))

    # 2. The model as a local folder; the task's rows, checked, in three splits, near-duplicates together in one.
    with output_folder(FOLDER / "model") as folder:
        build(config.model.source, folder)
    with output_folder(FOLDER / "prepare") as folder:
        prepare(config.task, config.seed, model_folder=FOLDER / "model", folder=folder)
    task = read_json(FOLDER / "prepare" / "task.json", Task)
    train, dev, test = (read_jsonl(FOLDER / "prepare" / f"{name}.jsonl", Example) for name in ("train", "dev", "test"))

    # 3. Prompting. Demonstrations come from train; every choice is made on dev, so that test stays unseen.
    base = LocalModel.load(FOLDER / "model", None, config.model)
    prompts = {
        "few_shot": few_shot(task, train, config.seed, examples=14),
        "knn": knn(task, train, config.seed, examples=8),
    }
    best = max(prompts, key=lambda name: float(score(base, prompts[name], task, dev).mean()))
    prompted = score(base, prompts[best], task, test)

    # 4. Fine-tuning: a LoRA adapter learns from train, asked as zero_shot asks; the step that is best on dev is kept.
    tuner, seed, texts = config.checkpoints["lora"].tuner, config.seed, FOLDER / "training_set"
    write_training_set("lora", tuner, seed, prepared=FOLDER / "prepare", folder=texts)
    with output_folder(FOLDER / "lora") as folder:
        finetune("lora", tuner, config.model, seed, model_folder=FOLDER / "model", training_set=texts, folder=folder)
    tuned = score(base.with_checkpoint(FOLDER / "lora" / "checkpoint"), zero_shot(task, train, config.seed), task, test)

    # 5. Both answered the same examples, so they are compared in pairs, which takes fewer examples than two means do.
    result = score_difference(tuned, prompted, InferenceSettings(seed=config.seed))
    low, high = map(format_signed, result.interval)
    print(f"task {task.name}, model {config.model.name}, {result.n} test examples")
    print(f"  {'base with ' + best:20} {format_percent(prompted.mean())}")
    print(f"  {'lora with zero_shot':20} {format_percent(tuned.mean())}")
    print(f"  {'difference':20} {format_points(result.difference)} ({low} to {high}), {format_p_value(result.p_value)}")


def score(model: LocalModel, strategy: Strategy, task: Task, examples: Sequence[Example]) -> Floats:
    """Return the score of the model's answer to each example: 1.0 if it is right, else 0.0."""
    answers = model.generate([strategy(example) for example in examples], constrained(task, 0).decoding)
    kind, pairs = output_of(task), zip(answers, examples, strict=True)
    return np.array([score_answer(kind, kind.read(answer.text).answer, one.target) for (answer,), one in pairs])


if __name__ == "__main__":
    entry.run(main)
