"""Frozen linear layers in training: products with weights laid out once for the processor, in both directions.

Most weights do not change while an adapter is trained. Their products, forwards and for the gradients of their inputs,
are those of `whether.model.packed_layers`. Imports torch: import it where it is used.
"""

from typing import Any

import torch
from torch import Tensor, nn

from whether.model.packed_layers import SMALLEST, PackedWeight, packing_pays

SPARE = 4
"""Times the memory of the frozen weights that has to be free: they are there twice more, and activations besides."""


class FrozenLinear(nn.Linear):
    """A linear layer whose weight is not trained. It keeps the plain one: adapters look at it."""

    forwards: PackedWeight
    backwards: PackedWeight
    """The transposed weight, without a bias."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the outputs [..., O] of inputs [..., I]."""
        if torch.is_grad_enabled() and inputs.requires_grad:
            result: Tensor = _Product.apply(inputs, self)  # type: ignore[no-untyped-call]
            return result
        return self.forwards.linear(inputs)

    def input_gradient(self, gradient: Tensor) -> Tensor:
        """Return the gradient of inputs [..., I] from that of the outputs [..., O]."""
        return self.backwards.linear(gradient)


class _Product(torch.autograd.Function):
    """The product of a `FrozenLinear`: only its inputs have a gradient."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, layer: FrozenLinear) -> Tensor:
        """Return the outputs [..., O]."""
        ctx.layer = layer
        return layer.forwards.linear(inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of the inputs."""
        return ctx.layer.input_gradient(gradient), None


def pack_frozen_layers(model: Any) -> int:
    """Pack a model's frozen linear layers where that pays and there is the memory for it; return of how many."""
    import psutil

    layers = [
        module
        for module in model.modules()
        if type(module) is nn.Linear and module.weight.numel() >= SMALLEST and not module.weight.requires_grad
        and (module.bias is None or not module.bias.requires_grad) and module.weight.device.type == "cpu"
    ]  # fmt: skip
    if not layers or not packing_pays(layers[0].weight.dtype):
        return 0
    if psutil.virtual_memory().available < SPARE * sum(layer.weight.nbytes for layer in layers):
        return 0
    for layer in layers:
        layer.__class__ = FrozenLinear
        frozen: Any = layer
        frozen.forwards, frozen.backwards = PackedWeight.of([layer]), PackedWeight([layer.weight.t()])
    return len(layers)
