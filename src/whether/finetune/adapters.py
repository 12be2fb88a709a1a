"""Ways to change a model: each function turns a base model into one with something to train, and freezes the rest.

conf/checkpoint names one as `tuner.adapter._target_`; the model and the task come first, settings by keyword.
"""

from typing import Annotated, Any

from pydantic import Field

from whether.errors import ConfigError, MissingPackageError
from whether.finetune.target_modules import linear_layers, require_layers
from whether.records import TrainingSet

Rank = Annotated[int, Field(ge=1, le=4096)]
Dropout = Annotated[float, Field(ge=0, lt=1)]
VirtualTokens = Annotated[int, Field(ge=1, le=1024)]


def lora(
    model: Any,
    task: TrainingSet,  # noqa: ARG001 - every adapter gets it
    *,
    r: Rank,
    alpha: Annotated[float, Field(gt=0)],
    dropout: Dropout = 0.0,
    target_modules: str | list[str] = "all-linear",
    rank_stabilised: bool = False,
    decomposed: bool = False,
) -> Any:
    """Return `model` with a low-rank update of its linear layers, frozen otherwise (LoRA, Hu et al. 2021, 2106.09685).

    `r` is the rank, `alpha / r` scales the update, `dropout` is the share of the update's inputs that is dropped.
    `target_modules` are names of layers, or "all-linear": every linear layer but the output head. With
    `rank_stabilised` the scale is `alpha / sqrt(r)` (rsLoRA, Kalajdzievski 2023, 2312.03732); with `decomposed` the
    length of each weight column is trained separately from its direction (DoRA, Liu et al. 2024, 2402.09353). Raises
    ConfigError if the model has no such layers.
    """
    from peft import LoraConfig, TaskType

    settings = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=r,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=target_modules,
        use_rslora=rank_stabilised,
        use_dora=decomposed,
    )
    return _adapt(model, settings, target_modules)


def qlora(
    model: Any,
    task: TrainingSet,
    *,
    r: Rank,
    alpha: Annotated[float, Field(gt=0)],
    dropout: Dropout = 0.0,
    target_modules: str | list[str] = "all-linear",
) -> Any:
    """Return `model` with LoRA over weights of 4 bits (QLoRA, Dettmers et al. 2023, 2305.14314).

    The base's linear layers, all but the output head, are quantised to NF4, their scales too, which takes a quarter of
    bfloat16's memory while training. The adapter answers on the base in its own
    precision, so that it is measured as it is used. Raises MissingPackageError without bitsandbytes.
    """
    from transformers import PreTrainedModel

    base: PreTrainedModel = model
    _quantise(base)
    return lora(base, task, r=r, alpha=alpha, dropout=dropout, target_modules=target_modules)


def vera(
    model: Any,
    task: TrainingSet,  # noqa: ARG001
    *,
    r: Rank,
    dropout: Dropout = 0.0,
    target_modules: str | list[str] = "all-linear",
    seed: Annotated[int, Field(ge=0)] = 0,
) -> Any:
    """Return `model` with scaled random projections next to its linear layers (VeRA, Kopiczko et al. 2023, 2310.11454).

    Two vectors a layer are trained; the projections of rank `r` that they scale are the same for all layers and are
    drawn from `seed`. `dropout` and `target_modules` are those of `lora`.
    """
    from peft import TaskType, VeraConfig

    settings = VeraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=r,
        vera_dropout=dropout,
        target_modules=target_modules,
        projection_prng_key=seed,
    )
    return _adapt(model, settings, target_modules)


def ia3(
    model: Any,
    task: TrainingSet,  # noqa: ARG001
    *,
    target_modules: list[str] | None = None,
    feedforward_modules: list[str] | None = None,
) -> Any:
    """Return `model` with a trained factor for each number that keys, values and feed-forward layers pass on.

    (IA)³, Liu et al. 2022, 2205.05638. `target_modules` are names of layers whose outputs are scaled; of those in
    `feedforward_modules` the inputs are. None: what peft knows to be right for the architecture. Raises ConfigError for
    layers that the model lacks and for an architecture that peft does not know.
    """
    from peft import IA3Config, TaskType

    if (target_modules is None) != (feedforward_modules is None):
        raise ConfigError("tuner.adapter: set target_modules and feedforward_modules both, or neither")
    further = [name for name in feedforward_modules or () if name not in (target_modules or ())]
    if further:
        raise ConfigError(
            f"tuner.adapter.feedforward_modules: {', '.join(further)} must be among target_modules, which are"
            f" {target_modules}"
        )
    settings = IA3Config(
        task_type=TaskType.CAUSAL_LM, target_modules=target_modules, feedforward_modules=feedforward_modules
    )
    return _adapt(model, settings, target_modules)


def prompt_tuning(model: Any, task: TrainingSet, *, virtual_tokens: VirtualTokens) -> Any:
    """Return `model` with trained embeddings of `virtual_tokens` tokens before each prompt (soft prompts).

    Lester et al. 2021, 2104.08691. They start as the embeddings of the task's instruction, repeated or cut to fit.
    """
    from peft import PromptTuningConfig, PromptTuningInit, TaskType

    settings = PromptTuningConfig(
        task_type=TaskType.CAUSAL_LM,
        num_virtual_tokens=virtual_tokens,
        prompt_tuning_init=PromptTuningInit.TEXT,
        prompt_tuning_init_text=task.instruction,
        tokenizer_name_or_path=model.name_or_path,
    )
    return _adapt(model, settings)


def prefix_tuning(model: Any, task: TrainingSet, *, virtual_tokens: VirtualTokens) -> Any:  # noqa: ARG001
    """Return `model` with trained keys and values of `virtual_tokens` tokens before each prompt, in every layer.

    Li and Liang 2021, 2101.00190, without the network that they train them through.
    """
    from peft import PrefixTuningConfig, TaskType

    return _adapt(model, PrefixTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=virtual_tokens))


def full(model: Any, task: TrainingSet) -> Any:  # noqa: ARG001
    """Return `model` with every weight to train."""
    return model.requires_grad_(True)


def linear_probe(model: Any, task: TrainingSet) -> Any:
    """Return `model` with a linear classifier of the task's labels in place of its output head, frozen otherwise.

    The classifier reads the last hidden state of the prompt (Alain and Bengio 2016, 1610.01644): the cheapest way to
    learn from labels, and the one to beat. Raises ConfigError for a task without labels.
    """
    from whether.model.label_head import replace_output_head

    if not task.labels:
        raise ConfigError(f"a linear probe chooses among labels, and the task {task.name} has output {task.output!r}")
    return replace_output_head(model.requires_grad_(False), task.labels)


def _adapt(model: Any, settings: Any, target_modules: str | list[str] | None = None) -> Any:
    """Return peft's model of these settings; layers that do not fit are a ConfigError that names `target_modules`."""
    from peft import get_peft_model
    from transformers.pytorch_utils import Conv1D

    require_layers(model, target_modules)
    known = ", ".join(linear_layers(model))
    if not settings.is_prompt_learning:
        # GPT-2 stores weights the other way round; peft would find out, with a warning.
        settings.fan_in_fan_out = any(isinstance(layer, Conv1D) for layer in model.modules())
    try:
        return get_peft_model(model, settings)
    except (ValueError, TypeError) as error:
        reason = str(error).strip().partition("\n")[0]
        if settings.is_prompt_learning:
            raise ConfigError(f"tuner.adapter does not fit the model: {reason}") from None
        given = "null" if target_modules is None else repr(target_modules)
        raise ConfigError(
            f"tuner.adapter.target_modules: {given} does not fit the model, whose linear layers are {known}: {reason}"
        ) from None


def _quantise(model: Any) -> None:
    """Put layers of 4 bits in place of a model's linear ones, on the accelerator if there is one."""
    import torch

    try:
        from bitsandbytes.nn import Linear4bit, Params4bit
    except ImportError:
        raise MissingPackageError("bitsandbytes", "qlora", "qlora") from None
    device = torch.accelerator.current_accelerator() or model.device
    head = model.get_output_embeddings()
    linear = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, torch.nn.Linear)]
    for name, layer in linear:
        if layer is head:
            continue
        small = Linear4bit(
            layer.in_features,
            layer.out_features,
            bias=layer.bias is not None,
            compute_dtype=layer.weight.dtype,
            quant_type="nf4",
            compress_statistics=True,
        )
        small.weight = Params4bit(
            layer.weight.data, requires_grad=False, quant_type="nf4", compress_statistics=True, module=small
        )
        small.bias = layer.bias
        model.set_submodule(name, small.to(device))  # it is quantised as it moves
    model.is_loaded_in_4bit = True
