"""Was general ability kept, and how fast and large is it: artifacts/benchmark/<checkpoint>.

python -m pipelines.benchmark <checkpoint>
"""

from whether import entry
from whether.benchmark.benchmark import benchmark, write_unmeasured
from whether.config import load
from whether.records import ARTIFACTS, output_folder
from whether.repository.tracked import require_committed_data


def main(argv: list[str]) -> None:
    """Benchmark one checkpoint."""
    (name,) = argv
    config = load()
    checkpoint = entry.chosen(config.checkpoints, name, "checkpoint")
    require_committed_data()
    with output_folder(ARTIFACTS / "benchmark" / name) as folder:
        if checkpoint.served or checkpoint.repeat_of:
            write_unmeasured(folder)
            return
        benchmark(name, config.benchmark, config.model, config.seed, artifacts=ARTIFACTS, folder=folder)


if __name__ == "__main__":
    entry.run(main, words=("checkpoint",))
