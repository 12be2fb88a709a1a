"""`whether lm-eval`: lm-eval's own command line, with our engine among its models."""

import sys
from collections.abc import Sequence

import lm_eval.__main__

import whether.engine.lm_eval_model  # noqa: F401 - lm-eval finds a model by name only once this has registered it


def evaluate(words: Sequence[str]) -> None:
    """Run lm-eval with these words, which it reads from `sys.argv`."""
    sys.argv = ["lm-eval", *words]
    lm_eval.__main__.cli_evaluate()
