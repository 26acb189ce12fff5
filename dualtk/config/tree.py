"""YAML files as trees of plain values: reading them, and laying one over the file that it is based on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from dualtk.errors import InputError

Tree = dict[str, Any]


def _plain(text: str, source: str) -> Any:
    """What YAML `text` says; tags of Python objects are refused, never run."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{source}:{mark.line + 1}" if mark else source
        raise InputError(f"{where}: not plain YAML: {getattr(error, 'problem', error)}") from error


def parse_tree(text: str, source: str) -> Tree:
    """The mapping of sections that YAML `text` is."""
    tree = _plain(text, source)
    if not isinstance(tree, dict):
        raise InputError(f"{source}: not a mapping of sections")
    return tree


def read_tree(path: Path, above: tuple[Path, ...] = ()) -> Tree:
    """The mapping of a file, laid over that of the file its key `base` names, from its own folder."""
    if path.resolve() in above:
        raise InputError(f"{path}: base: the files name each other")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    tree = parse_tree(text, str(path))
    base = tree.pop("base", None)
    return tree if base is None else merge(read_tree(path.parent / str(base), (*above, path.resolve())), tree)


def merge(base: Tree, own: Tree) -> Tree:
    """`own` over `base`: mappings join unless they name different blocks, null drops a key, all else replaces."""
    if own.get("name", base.get("name")) != base.get("name"):
        return own
    merged = dict(base)
    for key, value in own.items():
        below = merged.pop(key, None)
        if isinstance(value, dict) and isinstance(below, dict):
            merged[key] = merge(below, value)
        elif value is not None:
            merged[key] = value
    return merged


def set_value(tree: Tree, override: str, source: str) -> None:
    """Change `tree` by `key.path=value`; the value is YAML, a number in the path is a place in a list.

    Raises:
        InputError: the path leads nowhere.
    """
    key, separator, value = override.partition("=")
    if not separator:
        raise InputError(f"{source}: {override}: expected key.path=value")
    *parents, last = key.split(".")
    node: Any = tree
    for parent in parents:
        node = _child(node, parent)
        if node is None:
            raise InputError(f"{source}: {key}: unknown key")
    new = _plain(value, f"{source}: {key}")
    if isinstance(node, dict):
        node[last] = new
    elif _child(node, last) is not None:
        node[int(last)] = new
    else:
        raise InputError(f"{source}: {key}: unknown key")


def _child(node: Any, key: str) -> Any:
    """What `key` leads to, None where there is nothing."""
    if isinstance(node, dict):
        return node.get(key)
    if isinstance(node, list) and key.isdecimal() and int(key) < len(node):
        return node[int(key)]
    return None
