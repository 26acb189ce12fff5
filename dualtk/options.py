"""What every section of a configuration is: options that stand beside the block which they build.

A key of the YAML is a field of an options class and an argument of the block. A field carries its default, its range
and, in the docstring below it, what it means; `Unit` says in what it is measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveFloat, field_validator, model_validator

Probability = Annotated[float, Field(ge=0, le=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Depth = Annotated[int, Field(ge=1, le=1000)]  # layers: a network of a million would take hours to be refused


@dataclass(frozen=True)
class Unit:
    """What a number counts or is measured in, for the reference: `Annotated[PositiveInt, Unit("encoder frames")]`."""

    name: str


def ordered(interval: tuple[float, float]) -> tuple[float, float]:
    """Two numbers, the smaller first; a validator."""
    if interval[0] > interval[1]:
        raise ValueError("must be two numbers, the smaller first")
    return interval


_Decibel = Annotated[float, Field(ge=-60, le=100)]
Decibels = Annotated[tuple[_Decibel, _Decibel], AfterValidator(ordered), Unit("dB")]
Durations = Annotated[tuple[PositiveFloat, PositiveFloat], AfterValidator(ordered), Unit("seconds")]

LARGEST = 2**31 - 1  # whole number: seeds and steps are multiplied, and tensors are indexed, in 64 bits


class Section(BaseModel):
    """A part of the configuration: no extra keys, finite numbers that are written as such, no change after loading."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        protected_namespaces=(),
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        validate_default=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _truth_is_no_number(cls, values: Any) -> Any:
        for key, value in values.items() if isinstance(values, dict) else ():
            field = cls.model_fields.get(key)
            if isinstance(value, bool) and field is not None and bool not in _named_types(field.annotation):
                raise ValueError(f"{key}: {str(value).lower()} is neither a number nor text")
        return values

    @field_validator("*")
    @classmethod
    def _whole_numbers_are_small(cls, value: Any) -> Any:
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, int) and abs(one) > LARGEST:
                raise ValueError(f"whole numbers are at most {LARGEST}")
        return value

    def arguments(self) -> dict[str, Any]:
        """The fields as keyword arguments of the block, without the tag `name`; sections inside stay sections."""
        return {key: value for key, value in self if key != "name"}


def _named_types(annotation: Any) -> Iterator[Any]:
    """An annotation and all that it is made of."""
    yield annotation
    for inside in get_args(annotation):
        yield from _named_types(inside)
