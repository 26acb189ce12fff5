"""Playing speeds (Ko et al., Audio augmentation for speech recognition, 2015): 0.9 is slower and lower."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from dualtk.options import Unit


def _different(speeds: tuple[float, ...]) -> tuple[float, ...]:
    if len({perturbed("", speed) for speed in speeds}) != len(speeds):
        raise ValueError(f"two of the speeds are the same: {', '.join(f'{speed:g}' for speed in speeds)}")
    return speeds


Speeds = Annotated[
    tuple[Annotated[float, Field(ge=0.5, le=2.0)], ...],
    Field(min_length=1),
    AfterValidator(_different),
    Unit("times the original speed"),
]


def perturbed(name: str, speed: float) -> str:
    """The name of an utterance or speaker at another speed, as Kaldi's perturb_data_dir_speed.sh has it."""
    return name if speed == 1.0 else f"sp{speed:g}-{name}"
