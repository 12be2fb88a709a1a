"""What the Trainer subclass adds: the choice of packing, the score, the schedule."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from whether.finetune.data import TrainingRow
from whether.records import Task

TARGETS: dict[str, str | list[str]] = {"sliding window": "all-linear", "recurrence": ["in_proj"]}
ROWS = [TrainingRow([*range(10, 40), 50 + n], [60 + n, 2]) for n in range(6)]


def test_a_model_that_takes_the_mask_is_packed(tiny_model: Path, label_task: Task) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from whether.finetune.adapters import lora
    from whether.finetune.collators import make_collator
    from whether.finetune.packing import Collator

    model = lora(AutoModelForCausalLM.from_pretrained(tiny_model), label_task, r=2, alpha=4)
    assert make_collator(model, ROWS) == Collator(packed=True, mask_dtype=torch.float32, blocks=True)


def test_a_model_whose_attention_is_its_own_is_packed_with_a_mask(label_task: Task) -> None:
    import torch
    from transformers import AutoModelForCausalLM, GPTJConfig

    from whether.finetune.adapters import lora
    from whether.finetune.collators import make_collator
    from whether.finetune.packing import Collator

    torch.manual_seed(0)
    config = GPTJConfig(vocab_size=300, n_embd=32, n_layer=2, n_head=4, rotary_dim=4, initializer_range=0.3)
    model = lora(AutoModelForCausalLM.from_config(config), label_task, r=2, alpha=4)
    assert make_collator(model, ROWS) == Collator(packed=True, mask_dtype=torch.float32, blocks=False)


def architectures() -> dict[str, Any]:
    """Models that do not see what the mask says: by a sliding window, and by a recurrence in place of attention."""
    from transformers import MambaConfig, MistralConfig

    size: dict[str, Any] = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "initializer_range": 0.3}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64}
    return {"sliding window": MistralConfig(**size, **heads, sliding_window=8), "recurrence": MambaConfig(**size)}


@pytest.mark.parametrize("kind", ["sliding window", "recurrence"])
def test_a_model_that_cannot_share_a_prefix_is_padded_and_says_so(
    kind: str, caplog: pytest.LogCaptureFixture, label_task: Task
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from whether.finetune.adapters import lora
    from whether.finetune.collators import make_collator

    torch.manual_seed(0)
    model = lora(
        AutoModelForCausalLM.from_config(architectures()[kind]), label_task, r=2, alpha=4, target_modules=TARGETS[kind]
    )
    logging.getLogger("whether").propagate = True
    try:
        assert not make_collator(model, ROWS).packed
    finally:
        logging.getLogger("whether").propagate = False
    assert "padded batches are used" in caplog.text


def test_the_score_orders_by_exact_examples_then_by_loss() -> None:
    import numpy as np
    from transformers import EvalPrediction

    from whether.finetune.losses import dev_metrics

    def score(loss: float, right: list[int]) -> dict[str, float]:
        tokens = np.array([2, 3])
        return dev_metrics(EvalPrediction((np.array([loss, loss]), np.array(right)), tokens))

    assert score(0.5, [2, 1]) == pytest.approx({"loss": 0.2, "token_accuracy": 0.6, "exact": 0.5, "score": 1 - 1 / 6})
    ordered = [score(1e9, [0, 0]), score(0.1, [0, 2]), score(90.0, [2, 0]), score(0.2, [2, 0]), score(1e3, [2, 3])]
    assert [entry["score"] for entry in ordered] == sorted(entry["score"] for entry in ordered)


def test_where_classes_count_equally_a_model_that_gives_the_most_frequent_answer_is_not_chosen() -> None:
    import numpy as np
    from transformers import EvalPrediction

    from whether.finetune.losses import dev_metrics

    classes, tokens = ["often"] * 8 + ["seldom"] * 2, np.full(10, 2)
    frequent = EvalPrediction((np.full(10, 0.1), np.array([2] * 8 + [0] * 2)), tokens)
    both = EvalPrediction((np.full(10, 0.5), np.array([2] * 6 + [0] * 2 + [2, 0])), tokens)
    assert dev_metrics(frequent)["score"] > dev_metrics(both)["score"]
    assert dev_metrics(frequent, classes)["score"] < dev_metrics(both, classes)["score"]
    assert dev_metrics(frequent, classes)["exact"] == 0.8


def test_the_estimate_of_macro_f1_is_exact_with_two_classes() -> None:
    import numpy as np
    from sklearn.metrics import f1_score

    from whether.finetune.losses import class_f1_estimate

    rng = np.random.default_rng(0)
    targets, answers = rng.integers(0, 2, (2, 60))
    assert class_f1_estimate(targets == answers, targets) == pytest.approx(f1_score(targets, answers, average="macro"))
    frequent, guessed = [True] * 78 + [False] * 22, [True] * 44 + [False] * 34 + [True] * 14 + [False] * 8
    classes, all_classes = (
        ["a"] * 78 + ["b"] * 15 + ["c"] * 7,
        [*frequent[:73], *[False] * 5, *[True] * 8, *[False] * 14],
    )
    scores = [class_f1_estimate(np.array(one), classes) for one in (frequent, guessed, all_classes)]
    assert scores[0] < scores[1] < scores[2]


@pytest.mark.parametrize(("count", "steps"), [(6, 72), (6, 75), (4, 3), (5, 5)])
def test_the_schedule_is_even_and_ends_with_the_last_step(count: int, steps: int) -> None:
    from whether.finetune.callbacks import EvaluationSchedule

    asked = []
    for step in range(1, steps + 1):
        control = SimpleNamespace(should_evaluate=False, should_save=False)
        EvaluationSchedule(count).on_step_end(None, SimpleNamespace(global_step=step, max_steps=steps), control)
        assert control.should_evaluate == control.should_save
        if control.should_evaluate:
            asked.append(step)
    assert len(asked) == min(count, steps)
    assert asked[-1] == steps
    gaps = [after - before for before, after in zip([0, *asked], asked, strict=False)]
    assert max(gaps) - min(gaps) <= 1
