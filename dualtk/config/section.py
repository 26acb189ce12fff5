"""What every section of the configuration is."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of the configuration: no extra keys, no silent conversion, no change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    def arguments(self) -> dict[str, Any]:
        """The fields as keyword arguments, without the tag `name`."""
        return {key: value for key, value in self if key != "name"}
