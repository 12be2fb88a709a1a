"""lm-eval's own command line, with our engine among its models:

python -m whether.engine.lm_eval --model whether --model_args pretrained=artifacts/model --tasks hellaswag --limit 50

lm-eval finds a model by name only once the module that registers it is imported; that is all that this one does.
"""

import lm_eval.__main__

import whether.engine.lm_eval_model  # noqa: F401 - registers the name
from whether import entry


def main(_: list[str]) -> None:
    """Run lm-eval with the arguments of this process."""
    lm_eval.__main__.cli_evaluate()


if __name__ == "__main__":
    entry.run(main)
