"""Which arms of served models dev shows to be worse, so that test is not asked of them: artifacts/race."""

from whether import entry
from whether.config import Config, load
from whether.generate.generate import answer_splits
from whether.generate.load import load_checkpoint
from whether.records import ARTIFACTS, Prediction, output_folder, to_builtins, write_json
from whether.score.race import race
from whether.score.score import ScoredTask, predictions_of, read_task


def main(_: list[str]) -> None:
    """Ask dev of every arm of a served model, and write which ones lost."""
    config = load()
    with output_folder(ARTIFACTS / "race") as folder:
        scored = read_task(ARTIFACTS / "prepare", config.metrics)
        lost = race(_answered(config, scored), scored, config.primary_metric, config.policy, config.seed)
        for name in config.checkpoints:
            found = {prompt: lost.get(f"{name}-{prompt}") for prompt in config.prompts}
            write_json(folder / f"{name}.json", {prompt: to_builtins(one) for prompt, one in found.items() if one})


def _answered(config: Config, scored: ScoredTask) -> dict[str, list[Prediction]]:
    """Return arm → its answers to dev. They are kept, and the arm's own stage begins with them: none is paid twice."""
    found = {}
    for name in config.racing_checkpoints:
        served = load_checkpoint(name, ARTIFACTS / "model", None, config.model, config.checkpoints[name].served)
        for prompt, settings in config.prompts.items():
            requests = ARTIFACTS / "prompt" / prompt / "requests.jsonl"
            answers = answer_splits(
                served, requests, f"{name}-{prompt}", ("calibration", "dev"), config.policy.max_failed
            )
            found[f"{name}-{prompt}"] = predictions_of(answers, prompt, settings, config.seed, scored)
    return found


if __name__ == "__main__":
    entry.run(main, words=())
