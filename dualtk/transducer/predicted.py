"""What the predictor says about a batch in one step, shared by all passes.

Shapes: B batch, U labels, D width, J joiner width.
"""

from __future__ import annotations

from torch import Tensor, nn


class Predicted:
    """Predictor outputs and their projections, each computed once however many passes and terms ask for it.

    Args:
        outputs: (B, U+1, D).
    """

    def __init__(self, outputs: Tensor) -> None:
        self.outputs = outputs
        self._projected: dict[nn.Module, Tensor] = {}

    def through(self, layer: nn.Module) -> Tensor:
        """(B, U+1, J): the outputs projected by `layer`."""
        if layer not in self._projected:
            self._projected[layer] = layer(self.outputs)
        return self._projected[layer]
