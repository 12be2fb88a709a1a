"""Tasks of lm-eval over BIG-bench's rows: `benchmark.include_path: whether.benchmark.tasks`."""
