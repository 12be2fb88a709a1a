"""What answers the arms: artifacts/backend.

python -m pipelines.backend                    choose it
python -m pipelines.backend <backend> <file>    measure one, and write how fast it is into a file
"""

from pathlib import Path
from typing import get_args

from whether import entry
from whether.config import load
from whether.errors import UsageError
from whether.generate.backend_choice import choose_backend, measure_backend
from whether.records import ARTIFACTS, Backend, output_folder


def main(argv: list[str]) -> None:
    """Choose, or measure."""
    if argv and len(argv) != 2:
        raise UsageError(f"python -m pipelines.backend takes no words, or <backend> <file>: got {' '.join(argv)}")
    config = load()
    if argv:
        backend = entry.chosen({name: name for name in get_args(Backend)}, argv[0], "backend")
        measure_backend(backend, config, artifacts=ARTIFACTS, file=Path(argv[1]))
        return
    with output_folder(ARTIFACTS / "backend") as folder:
        choose_backend(config, artifacts=ARTIFACTS, folder=folder)


if __name__ == "__main__":
    entry.run(main)
