"""What the arms' answers are worth: artifacts/score/<arm>."""

from whether import entry
from whether.config import load
from whether.records import ARTIFACTS, fitted_baselines, output_folder
from whether.score.score import read_task, score, score_baseline


def main(_: list[str]) -> None:
    """Score every arm."""
    config = load()
    scored = read_task(ARTIFACTS / "prepare", config.metrics)
    with output_folder(ARTIFACTS / "score") as folder:
        for checkpoint in config.checkpoints:
            for name, prompt in config.prompts.items():
                arm = f"{checkpoint}-{name}"
                score(arm, name, prompt, config.seed, scored, artifacts=ARTIFACTS, folder=folder / arm)
        for name in fitted_baselines(config.baseline_names, ARTIFACTS):
            score_baseline(name, scored, artifacts=ARTIFACTS, folder=folder / name)


if __name__ == "__main__":
    entry.run(main, words=())
