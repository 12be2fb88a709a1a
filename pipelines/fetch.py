"""`whether fetch`, for what still calls it by its earlier name, `python -m pipelines.fetch`."""

from whether.cli.app import main

if __name__ == "__main__":
    main("fetch")
