"""Configurations side by side, as values by path: the paths in which they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

ABSENT = "-"


def differences(configurations: Sequence[Mapping[str, str]]) -> list[tuple[str, list[str]]]:
    """The paths whose values are not the same everywhere, with each configuration's value (`-` where it has none)."""
    paths = dict.fromkeys(path for configuration in configurations for path in configuration)
    found = []
    for path in paths:
        values = [configuration.get(path, ABSENT) for configuration in configurations]
        if len(set(values)) > 1:
            found.append((path, values))
    return found
