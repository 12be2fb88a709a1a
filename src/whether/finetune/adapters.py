"""Ways to change a model: each function turns a base model into one with few trainable parameters.

conf/checkpoint names one as `tuner.adapter._target_`; the model comes first, settings by keyword.
"""

from typing import Annotated, Any

from pydantic import Field

from whether.errors import ConfigError


def lora(
    model: Any,
    *,
    r: Annotated[int, Field(ge=1, le=4096)],
    alpha: Annotated[float, Field(gt=0)],
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    target_modules: str | list[str] = "all-linear",
) -> Any:
    """Return `model` with a low-rank update of its linear layers, frozen otherwise (LoRA, Hu et al. 2021, 2106.09685).

    `r` is the rank, `alpha / r` scales the update, `dropout` is the share of the update's inputs that is dropped.
    `target_modules` are names of layers, or "all-linear": every linear layer but the output head. Raises ConfigError
    if the model has no such layers.
    """
    from peft import LoraConfig, TaskType, get_peft_model

    settings = LoraConfig(
        task_type=TaskType.CAUSAL_LM, r=r, lora_alpha=alpha, lora_dropout=dropout, target_modules=target_modules
    )
    try:
        return get_peft_model(model, settings)
    except ValueError as error:
        raise ConfigError(f"tuner.adapter.target_modules: {target_modules!r} does not fit the model: {error}") from None
