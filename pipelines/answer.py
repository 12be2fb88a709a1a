"""`whether predict`, for what still calls it by its earlier name, `python -m pipelines.answer`."""

from whether.cli.app import main

if __name__ == "__main__":
    main("predict")
