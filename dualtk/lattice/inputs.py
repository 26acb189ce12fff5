"""What a joiner reads, its activations, and how two joiners may be compared.

Axes: B batch, T frames, U labels, J joiner width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce

import torch
from torch import Tensor

from dualtk.lattice.check import check_shape

ACTIVATIONS = ("tanh", "relu", "identity")


@dataclass(frozen=True)
class JointInputs:
    """What a joiner reads: logits[b, t, u] = weight @ activation(encoder[b, t] + predictor[b, u]) + bias.

    Attributes:
        encoder: (B, T, J).
        predictor: (B, U + 1, J).
        weight: (V, J); or, where the activation gives the logits and J = V, a factor (1,) of it; None: 1.
        bias: (V,) beside a weight (V, J), or None.
        activation: one of ACTIVATIONS.
    """

    encoder: Tensor
    predictor: Tensor
    weight: Tensor | None = None
    bias: Tensor | None = None
    activation: str = "tanh"

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {ACTIVATIONS}, not {self.activation!r}")
        for name in ("encoder", "predictor"):
            check_shape(name, getattr(self, name), None, None, None)
        if self.encoder.shape[2] != self.predictor.shape[2]:
            raise ValueError(f"widths differ: encoder {self.encoder.shape[2]}, predictor {self.predictor.shape[2]}")
        if not self.has_layer and self.bias is not None:
            raise ValueError("a bias without a layer would be a second predictor bias; add it there")
        check_shape("predictor", self.predictor, self.encoder.shape[0], None, self.encoder.shape[2])
        if self.weight is not None:
            check_shape("weight", self.weight, *([None, self.encoder.shape[2]] if self.has_layer else [1]))
        if self.bias is not None:
            check_shape("bias", self.bias, self.vocabulary)

    def detach(self) -> JointInputs:
        """The same inputs without gradients."""
        weight, bias = (None if x is None else x.detach() for x in (self.weight, self.bias))
        return JointInputs(self.encoder.detach(), self.predictor.detach(), weight, bias, self.activation)

    def promoted(self, *dtypes: torch.dtype) -> JointInputs:
        """Both sides in one dtype that holds either of them, and the given ones."""
        dtype = reduce(torch.promote_types, dtypes, torch.promote_types(self.encoder.dtype, self.predictor.dtype))
        return replace(self, encoder=self.encoder.to(dtype), predictor=self.predictor.to(dtype))

    @property
    def has_layer(self) -> bool:
        """Whether a layer (V, J), and not the activation or a multiple of it, gives the logits."""
        return self.weight is not None and self.weight.dim() != 1

    @property
    def vocabulary(self) -> int:
        """V."""
        return self.weight.shape[0] if self.weight is not None and self.has_layer else self.encoder.shape[2]

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Both sides and the layer."""
        return self.encoder, self.predictor, self.weight, self.bias

    @property
    def dtypes(self) -> list[torch.dtype]:
        """Of each tensor."""
        return [x.dtype for x in self.tensors if x is not None]


@dataclass(frozen=True)
class Softening:
    """How two distributions are compared.

    Attributes:
        temperature: divides the logits of both. The KL is not multiplied by its square.
        top_k: compare the teacher's k most probable classes and the sum of all others; None: every class. Since
            classes are only put together, this never exceeds the full KL.
    """

    temperature: float = 1.0
    top_k: int | None = None

    def __post_init__(self) -> None:
        if self.temperature <= 0.0:
            raise ValueError(f"temperature must be positive, not {self.temperature}")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k must be at least 1, not {self.top_k}")

    def every_class(self, vocabulary: int) -> bool:
        """Whether each of V classes is compared on its own."""
        return self.top_k is None or self.top_k >= vocabulary


def activate(value: Tensor, activation: str) -> Tensor:
    """Apply an activation by name, in place."""
    if activation == "tanh":
        return value.tanh_()
    if activation == "relu":
        return value.relu_()
    return value


def activation_gradient(grad: Tensor, hidden: Tensor, activation: str) -> Tensor:
    """Turn the gradient of `hidden` into that of the activation's input, in place."""
    if activation == "tanh":
        return grad.mul_(1 - hidden * hidden)
    if activation == "relu":
        return grad.mul_(hidden > 0)
    return grad
