"""`whether publish`, for what still calls it by its earlier name, `python -m pipelines.publish_past`."""

from whether.cli.app import main

if __name__ == "__main__":
    main("publish")
