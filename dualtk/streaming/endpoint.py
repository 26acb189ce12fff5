"""Endpoints: where one utterance of a long recording ends and decoding begins anew.

The rules are those that Kaldi (`online2/online-endpoint.h`) and sherpa-onnx (`endpoint.h`) name so; any of them ends an
utterance. Silence is what the search says of it, frames since its last label, or what the energy says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, NonNegativeFloat

from dualtk.options import Section, Unit


@dataclass(frozen=True)
class Trailing:
    """How an utterance stands, in seconds.

    Attributes:
        length: of all of it.
        blank: since its last label, or since its start.
        quiet: since there was energy of speech.
        has_labels: whether anything was recognised.
    """

    length: float
    blank: float
    quiet: float
    has_labels: bool


class EndpointOptions(Section):
    """When an utterance of a long recording is over."""

    enabled: bool = True
    """Whether a recording is cut into utterances; otherwise it is one."""
    rule1_min_trailing_silence: Annotated[NonNegativeFloat, Unit("seconds")] = 2.4
    """Without a label, after which it ends if nothing was recognised."""
    rule2_min_trailing_silence: Annotated[NonNegativeFloat, Unit("seconds")] = 1.2
    """Without a label, after which it ends once something was recognised."""
    rule3_min_utterance_length: Annotated[float, Field(ge=1.0), Unit("seconds")] = 20.0
    """Length at which it ends whatever is said."""
    min_pause: Annotated[float, Field(ge=0.1), Unit("seconds")] = 0.35
    """Without the energy of speech, after which it ends; the next begins with speech."""

    def is_paused(self, now: Trailing) -> bool:
        """Whether the utterance has ended in a pause."""
        return now.quiet >= self.min_pause

    def is_over(self, now: Trailing) -> bool:
        """Whether it is over though speech may go on."""
        longest = self.rule2_min_trailing_silence if now.has_labels else self.rule1_min_trailing_silence
        return now.blank >= longest or now.length >= self.rule3_min_utterance_length
