"""`whether preview`, for what still calls it by its earlier name, `python -m pipelines.preview`."""

from whether.cli.app import main

if __name__ == "__main__":
    main("preview")
