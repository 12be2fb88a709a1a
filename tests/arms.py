"""The stages of one arm, one after the other, for tests that want its records."""

from functools import partial
from pathlib import Path

from tests.shipped_metrics import CONFIGS
from whether.bundle.asking import ask
from whether.compare.robustness import measure_robustness
from whether.config import ModelConfig, PromptConfig, RobustnessConfig, ServedConfig, ServingConfig
from whether.generate.generate import generate, generate_formats
from whether.generate.load import load_checkpoint
from whether.outputs.decoding import build_decoding
from whether.prompt.requests import read_inputs, write_prompt
from whether.records import (
    CHECKPOINT,
    FormatPlan,
    Generations,
    Prediction,
    output_folder,
    read_json,
    read_jsonl,
    write_json,
    write_text,
)
from whether.score.score import read_task, score

__all__ = ["ask", "run_arm"]


def run_arm(
    checkpoint: str, prompt: PromptConfig, model: ModelConfig, serving: ServingConfig, seed: int,
    *, name: str, artifacts: Path, folder: Path, robustness: RobustnessConfig | None = None,
    served: ServedConfig | None = None, max_failed: float = 0.02,
) -> None:  # fmt: skip
    """Run `prompt`, `generate`, `robustness` and `score`; `folder` gets what score and the analysis of formats say."""
    prompt_name = name.removeprefix(f"{checkpoint}-")
    formats = robustness or RobustnessConfig(examples=0)
    asked = artifacts / "prompt" / prompt_name
    with output_folder(asked) as made:
        write_prompt(
            prompt_name, prompt, seed, inputs=read_inputs(artifacts / "prepare"), robustness=formats, serving=serving,
            folder=made,
        )  # fmt: skip
    weights = artifacts / "finetune" / checkpoint / CHECKPOINT
    load = partial(load_checkpoint, checkpoint, artifacts / "model", weights, model, served)
    with output_folder(artifacts / "generate" / name) as made:
        generate(name, asked / "requests.jsonl", load=load, serving=serving, folder=made, max_failed=max_failed)
    with output_folder(artifacts / "robustness" / name) as made:
        generate_formats(name, asked / "formats.jsonl", load=load, folder=made)
    scored = read_task(artifacts / "prepare", CONFIGS)
    score(name, prompt_name, prompt, seed, scored, artifacts=artifacts, folder=folder)
    write_text(folder / "prompt.txt", (artifacts / "generate" / name / "prompt.txt").read_text(encoding="utf-8"))
    if formats.examples:
        found = measure_robustness(
            read_json(asked / "formats.json", FormatPlan),
            read_jsonl(artifacts / "robustness" / name / "generations.jsonl", Generations),
            scored.task,
            dev=scored.examples,
            predictions={one.id: one for one in read_jsonl(folder / "predictions.jsonl", Prediction)},
            decoding_of=lambda task: build_decoding(prompt_name, prompt, task, seed),
        )
        write_json(folder / "robustness.json", found)
