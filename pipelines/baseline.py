"""A small model answers dev and test without a language model: artifacts/baseline/fitted/<name>.

python -m pipelines.baseline <name>
"""

import os

from whether import entry
from whether.baseline.baseline import run_baseline
from whether.config import CONF, load
from whether.errors import config_errors_in
from whether.records import ARTIFACTS, output_folder


def main(argv: list[str]) -> None:
    """Fit one baseline and let it answer."""
    (name,) = argv
    config = load()
    baseline = entry.chosen(config.baselines, name, "baseline")
    if config.model.threads:  # as many as a language model has; torch, which is imported later, reads this once
        os.environ["OMP_NUM_THREADS"] = str(config.model.threads)
    file = CONF / "baseline" / f"{name}.yaml"
    with config_errors_in(file), output_folder(ARTIFACTS / "baseline" / "fitted" / name) as folder:
        run_baseline(
            name, baseline, config.seed, config.serving,
            data=ARTIFACTS / "baseline" / "data", folder=folder,
        )  # fmt: skip


if __name__ == "__main__":
    entry.run(main, words=("name",))
