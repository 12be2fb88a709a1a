"""`whether export`, for what still calls it by its earlier name, `python -m pipelines.export`."""

from whether.cli.app import main

if __name__ == "__main__":
    main("export")
