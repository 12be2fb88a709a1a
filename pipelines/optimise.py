"""`whether optimise`, for what still calls it by its earlier name, `python -m pipelines.optimise`."""

from whether.cli.app import main

if __name__ == "__main__":
    main("optimise")
