"""A mode: what a network may see, and which of its weights it uses (Dual-mode ASR, section 3.1).

A mode is a plain value that travels as an argument from the network's door to the layers; no layer remembers one.
"""

from __future__ import annotations

from dataclasses import dataclass

from dualtk.errors import InputError


@dataclass(frozen=True)
class Mode:
    """What the encoder may see, and which weights it uses.

    Attributes:
        name: the set of norms to use; every dual norm owns one set per mode name.
        full_context: the whole utterance is visible. Otherwise convolutions keep their current and left taps,
            pooling is a running mean, and attention sees its chunk and the left context.
        left_context: encoder output frames before its chunk that a frame attends to; None for all of them.
        chunk: encoder output frames that are decided together; each attends to the whole chunk.
        look_ahead: feature frames (10 ms) by which the input runs ahead of the output.
        sparsity: fraction of the prunable weights that is masked (supernet).
    """

    name: str
    full_context: bool
    left_context: int | None = None
    chunk: int = 1
    look_ahead: int = 0
    sparsity: float = 0.0

    def __post_init__(self) -> None:
        if self.full_context and (self.left_context is not None or self.chunk != 1 or self.look_ahead != 0):
            raise InputError(f"mode {self.name}: a full-context mode has no left_context, chunk or look_ahead")
        if self.chunk < 1 or self.look_ahead < 0 or (self.left_context is not None and self.left_context < 0):
            raise InputError(f"mode {self.name}: chunk must be at least 1, left_context and look_ahead at least 0")
        if not 0.0 <= self.sparsity < 1.0:
            raise InputError(f"mode {self.name}: sparsity must lie in [0, 1), not {self.sparsity}")


FULL_CONTEXT = Mode("full", full_context=True)


def streaming(
    left_context: int | None = None,
    chunk: int = 1,
    look_ahead: int = 0,
    sparsity: float = 0.0,
    name: str = "streaming",
) -> Mode:
    """A streaming mode; see `Mode` for the units."""
    return Mode(name, False, left_context, chunk, look_ahead, sparsity)
