"""YAML to typed configuration and back; every fault is one line with the file and the key's path."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from dualtk.config.pretraining import PRETRAINING, PretrainConfig
from dualtk.config.run import RunConfig
from dualtk.config.system import Config
from dualtk.config.tree import Tree, parse_tree, read_tree, set_value
from dualtk.errors import InputError

Root = TypeVar("Root", bound=RunConfig)


def parse(text: str, source: str) -> Config:
    """Configuration of a transducer from YAML `text`; `source` names it in errors.

    Raises:
        InputError: no YAML, or a key at fault, named by its path.
    """
    return _validate(Config, _of_transducer(parse_tree(text, source), source), source)


def load(path: Path) -> Config:
    """Configuration of a transducer from the file `path` and the files it is based on; see `parse`."""
    return _validate(Config, _of_transducer(read_tree(path), str(path)), str(path))


def load_any(path: Path) -> Config | PretrainConfig:
    """Configuration of whichever task the file `path` is for: its section `pretraining` tells; see `parse`."""
    tree = read_tree(path)
    if PRETRAINING in tree:
        return _validate(PretrainConfig, tree, str(path))
    return _validate(Config, tree, str(path))


def dump(config: RunConfig) -> str:
    """The resolved configuration as YAML; to read it gives the same configuration back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def with_overrides(config: Root, overrides: list[str], source: str = "--set") -> Root:
    """`config` with `key.path=value` changes (values are YAML), checked like a file."""
    tree: Tree = config.model_dump(mode="json")
    for override in overrides:
        set_value(tree, override, source)
    return _validate(type(config), tree, source)


def _of_transducer(tree: Tree, source: str) -> Tree:
    """`tree`, unless it is that of another task."""
    if PRETRAINING in tree:
        raise InputError(f"{source}: {PRETRAINING}: a network that is pre-trained, not a transducer")
    return tree


def _validate(root: type[Root], tree: Tree, source: str) -> Root:
    try:
        return root.model_validate(tree)
    except ValidationError as error:
        raise InputError(_explain(error, tree, source)) from error


def _explain(error: ValidationError, tree: Tree, source: str) -> str:
    """The first fault as one line: file, key's path, what is wrong."""
    fault = error.errors()[0]
    path = ".".join(_path_in(tree, fault["loc"], fault["type"] == "missing"))
    if fault["type"] == "extra_forbidden":
        return f"{source}: {path}: unknown key"
    if fault["type"] == "missing":
        return f"{source}: {path}: missing"
    message = fault["msg"].removeprefix("Value error, ")
    if isinstance(fault["input"], str | int | float):
        message += f", not {fault['input']!r}"
    return f"{source}: {path}: {message}" if path else f"{source}: {message}"


def _path_in(tree: Tree, place: tuple[int | str, ...], missing: bool) -> list[str]:
    """The parts of `place` that are keys of the file; pydantic puts the names of blocks among them."""
    node: Any = tree
    path = []
    for index, part in enumerate(place):
        last = missing and index == len(place) - 1
        if (isinstance(node, dict) and part in node) or (isinstance(node, list) and isinstance(part, int)):
            node = node[part]  # type: ignore[index]
        elif not last:
            continue
        path.append(str(part))
    return path
