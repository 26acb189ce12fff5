"""What every section of a configuration is: options that stand beside the block which they build.

A key of the YAML is a field of an options class and an argument of the block. A field carries its default, its range and,
in the docstring below it, what it means; `Unit` says in what it is measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Probability = Annotated[float, Field(ge=0, le=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True)
class Unit:
    """What a number counts or is measured in, for the reference: `Annotated[PositiveInt, Unit("encoder frames")]`."""

    name: str


class Section(BaseModel):
    """A part of the configuration: no extra keys, no silent conversion, finite numbers, no change after loading."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        protected_namespaces=(),
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        validate_default=True,
    )

    def arguments(self) -> dict[str, Any]:
        """The fields as keyword arguments of the block, without the tag `name`; sections inside stay sections."""
        return {key: value for key, value in self if key != "name"}
