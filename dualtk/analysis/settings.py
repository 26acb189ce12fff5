"""Configurations side by side: nested mappings flattened to paths, and the paths in which they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

ABSENT = "-"


def flatten(tree: object, path: str = "") -> dict[str, str]:
    """`{"a": {"b": 1}}` to `{"a.b": "1"}`; lists of mappings by index, other lists as they stand."""
    if isinstance(tree, Mapping) and tree:
        entries = [(f"{path}.{key}" if path else str(key), value) for key, value in tree.items()]
    elif isinstance(tree, Sequence) and any(isinstance(item, Mapping) for item in tree):
        entries = [(f"{path}[{index}]", value) for index, value in enumerate(tree)]
    else:
        return {path: str(tree)}
    return {key: leaf for entry, value in entries for key, leaf in flatten(value, entry).items()}


def differences(configurations: Sequence[Mapping[str, str]]) -> list[tuple[str, list[str]]]:
    """The paths whose values are not the same everywhere, with each configuration's value (`-` where it has none)."""
    paths = dict.fromkeys(path for configuration in configurations for path in configuration)
    found = []
    for path in paths:
        values = [configuration.get(path, ABSENT) for configuration in configurations]
        if len(set(values)) > 1:
            found.append((path, values))
    return found
