"""`whether estimate`, for what still calls it by its earlier name, `python -m pipelines.estimate`."""

from whether.cli.app import main

if __name__ == "__main__":
    main("estimate")
