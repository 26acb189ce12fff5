"""A mode: what a network may see, and which of its weights it uses (Dual-mode ASR, section 3.1).

A mode is a plain value that travels as an argument from the network's entry to the layers; no layer remembers one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from dualtk.errors import InputError
from dualtk.options import Fraction, Section, Unit

FRAME_MS = 10  # from one feature frame to the next


@dataclass(frozen=True)
class Mode:
    """What the encoder may see, and which weights it uses.

    Attributes:
        name: the set of norms to use; every dual norm owns one set per mode name.
        others: see `ModeOptions`.
    """

    name: str
    full_context: bool
    left_context: int | None = None
    chunk: int = 1
    look_ahead_ms: int = 0
    sparsity: float = 0.0

    def __post_init__(self) -> None:
        if self.full_context and (self.left_context is not None or self.chunk != 1 or self.look_ahead_ms != 0):
            raise InputError(f"mode {self.name}: a full-context mode has no left_context, chunk or look_ahead_ms")
        if self.chunk < 1 or self.look_ahead_ms < 0 or (self.left_context is not None and self.left_context < 0):
            raise InputError(f"mode {self.name}: chunk must be at least 1, left_context and look_ahead_ms at least 0")
        if self.look_ahead_ms % FRAME_MS:
            raise InputError(f"mode {self.name}: look_ahead_ms must be a multiple of {FRAME_MS}")
        if not 0.0 <= self.sparsity < 1.0:
            raise InputError(f"mode {self.name}: sparsity must lie in [0, 1), not {self.sparsity}")

    @property
    def look_ahead_frames(self) -> int:
        """Feature frames by which the input runs ahead of the output."""
        return self.look_ahead_ms // FRAME_MS


FULL_CONTEXT = Mode("full", full_context=True)


def streaming(
    left_context: int | None = None,
    chunk: int = 1,
    look_ahead_ms: int = 0,
    sparsity: float = 0.0,
    name: str = "streaming",
) -> Mode:
    """A streaming mode; see `Mode`."""
    return Mode(name, False, left_context, chunk, look_ahead_ms, sparsity)


class DrawnContextOptions(Section):
    """What a streaming mode sees in some steps of training, in the place of its own left context and chunk."""

    left_context: Annotated[NonNegativeInt, Unit("encoder frames")] | None = None
    """See the mode's; null for all of them."""
    chunk: Annotated[PositiveInt, Unit("encoder frames")] = 1
    """See the mode's."""
    probability: PositiveFloat = 1.0
    """Of being drawn, relative to those of the others."""


class ModeOptions(Section):
    """What one mode may see, and how much of the weights it leaves out."""

    full_context: bool = False
    """The whole utterance is visible. Otherwise convolutions keep their current and left taps, pooling is a running
    mean, and attention sees its chunk and the left context."""
    left_context: Annotated[NonNegativeInt, Unit("encoder frames")] | None = None
    """Frames before its chunk that a frame attends to; null for all of them."""
    chunk: Annotated[PositiveInt, Unit("encoder frames")] = 1
    """Frames that are decided together; each attends to the whole chunk."""
    look_ahead_ms: Annotated[int, Field(ge=0, multiple_of=FRAME_MS), Unit("ms")] = 0
    """By how much the input runs ahead of the output."""
    sparsity: Fraction = 0.0
    """Fraction of the prunable weights that is masked."""
    drawn: list[DrawnContextOptions] = Field(default=[])
    """Left contexts and chunks of which training draws one for each step (dynamic chunks, Zhang et al. 2020), so that
    one mode serves all of them: `dualtk decode --mode streaming@CHUNK` or `streaming@CHUNK-LEFT`. Empty: its own."""

    @model_validator(mode="after")
    def _full_context_has_no_others(self) -> ModeOptions:
        for key in ("left_context", "chunk", "look_ahead_ms", "drawn"):
            if self.full_context and getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key}: a full-context mode has none")
        return self

    def arguments(self) -> dict[str, Any]:
        """Those of `Mode`: what is drawn is the plan's."""
        return {key: value for key, value in super().arguments().items() if key != "drawn"}

    def mode(self, name: str) -> Mode:
        """The mode called `name`."""
        return Mode(name, **self.arguments())

    def drawn_modes(self, name: str) -> list[tuple[Mode, float]]:
        """What the mode called `name` sees in training, with probabilities."""
        own = self.mode(name)
        return [(replace(own, left_context=one.left_context, chunk=one.chunk), one.probability) for one in self.drawn]


def seen_otherwise(mode: Mode, text: str) -> Mode:
    """`mode` with the chunk, or chunk and left context, of `text`: "8", "8-32" or "8-all", in encoder frames.

    Raises:
        InputError: `text` is neither, or the mode is not a streaming one.
    """
    found = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}|all))?", text)
    if found is None or int(found[1]) < 1:
        raise InputError(f"mode {mode.name}@{text}: behind @ stands CHUNK or CHUNK-LEFT, as 8, 8-32 or 8-all")
    left = mode.left_context if found[2] is None else None if found[2] == "all" else int(found[2])
    return replace(mode, chunk=int(found[1]), left_context=left)
