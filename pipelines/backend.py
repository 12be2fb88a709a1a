"""What answers the arms: artifacts/backend.

python -m pipelines.backend                    choose it
python -m pipelines.backend <backend> <file>    measure one, and write how fast it is into a file
"""

from pathlib import Path

from whether import entry
from whether.config import load
from whether.generate.backend_choice import choose_backend, measure_backend
from whether.records import ARTIFACTS, output_folder


def main(argv: list[str]) -> None:
    """Choose, or measure."""
    config = load()
    if argv:
        backend, file = argv
        measure_backend(backend, config, artifacts=ARTIFACTS, file=Path(file))  # type: ignore[arg-type]
        return
    with output_folder(ARTIFACTS / "backend") as folder:
        choose_backend(config, artifacts=ARTIFACTS, folder=folder)


if __name__ == "__main__":
    entry.run(main)
