"""From YAML to options and back: every fault is one line with the file or the override, and the key's path."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from dualtk.errors import InputError
from dualtk.options import Section
from dualtk.yaml_text import to_text
from dualtk.yaml_tree import TAGS, Keys, Layer, Layered, Tree, leaves, read_file, read_layers

Root = TypeVar("Root", bound=Section)

FORMAT = 2  # of experiment folders; in the first, passes and terms were lists
FILE = "config.yaml"  # of an experiment folder
DEFAULT = "default"
LONGEST_SHOWN = 40  # characters of a value in an error
MISSING = "missing"
PROBLEMS = {
    **dict.fromkeys(("int_type", "int_parsing", "int_parsing_size", "int_from_float"), "must be a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "must be a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "must be true or false"),
    **dict.fromkeys(("tuple_type", "list_type"), "must be a list"),
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "must be a section, with keys of its own"),
    **dict.fromkeys(("string_type", "path_type"), "must be text"),
}
KEY = re.compile(r"(?P<key>\w+(\.\w+)*): (?P<rest>.*)", re.DOTALL)  # how the message of a validator begins


def read_configuration(path: Path, size: Path | Layer | None = None, overrides: Sequence[str] = ()) -> Layered:
    """The values of a YAML, over those that it is based on and under `key.path=value` changes."""
    layered = Layered()
    for layer in read_layers(path, size):
        layered.lay(layer)
    for override in overrides:
        layered.change(override)
    return layered


def read_experiment(folder: Path) -> Layered:
    """The values of the configuration that an experiment folder holds.

    Raises:
        InputError: there is none, or it was written by a dualtk whose folders were different.
    """
    path = folder / FILE
    if not path.is_file():
        raise InputError(f"{folder}: not an experiment: it has no {FILE}")
    tree = read_file(path)
    if tree.get("format") != FORMAT:
        raise InputError(f"{folder}: of format {tree.get('format', 1)}, this dualtk reads {FORMAT}: train it again")
    return laid(tree, str(path))


def laid(tree: Tree, source: str) -> Layered:
    """Values that one place says; null says nothing."""
    layered = Layered()
    layered.lay(Layer(source, tree))
    return layered


def validate(root: type[Root], tree: Tree, source: str) -> Root:
    """The options of class `root` that `tree` holds; see `validate_layered`.

    Raises:
        InputError: names `source` and the key.
    """
    return validate_layered(root, laid(tree, source))


def validate_layered(root: type[Root], layered: Layered) -> Root:
    """The options of class `root` that the values describe.

    Raises:
        InputError: an unknown, missing or mistyped key, or values that do not go together; names the file or override
            that says it, and the key.
    """
    try:
        return root.model_validate(layered.tree)
    except ValidationError as error:
        raise InputError(_explain(error, layered)) from error


def plain_values(options: Section) -> Tree:
    """Every value, the defaults too, as YAML holds them: first what says which block a section describes."""
    tree: Tree = _tags_first(options.model_dump(mode="json"))
    return tree


def _tags_first(value: Any) -> Any:
    if not isinstance(value, dict):
        return [_tags_first(one) for one in value] if isinstance(value, list) else value
    return {key: _tags_first(value[key]) for key in sorted(value, key=lambda key: key not in TAGS)}


def dump(options: Section) -> str:
    """Every value as YAML; to read it gives the same options back."""
    return to_text(plain_values(options))


def origins(options: Section, layered: Layered) -> list[tuple[Keys, Any, str]]:
    """Every value with its keys and the place that says it; "default" where none does."""
    return [(keys, value, layered.sources.get(keys) or DEFAULT) for keys, value in leaves(plain_values(options))]


def _explain(error: ValidationError, layered: Layered) -> str:
    """The first fault as one line: who says it, key's path, what is wrong."""
    faults = [_fault(one, layered.tree) for one in error.errors()]
    first = faults[0]
    place = first.section or (first.keys[:-1] if first.problem == MISSING else first.keys)
    # A value that may be of several types has a fault for each of them.
    wanted = dict.fromkeys(one.problem for one in faults if one.keys == first.keys)
    source = layered.said(place) or layered.order[-1]
    return ": ".join(filter(None, [source, ".".join(first.keys), " or ".join(wanted) + first.shown]))


@dataclass(frozen=True)
class _Fault:
    """What is wrong at a key.

    Attributes:
        keys: that lead there.
        problem: what is wrong.
        shown: the value that is there, where the problem does not say it.
        section: where values that do not go together are said.
    """

    keys: Keys
    problem: str
    shown: str = ""
    section: Keys = ()


def _fault(error: ErrorDetails, tree: Tree) -> _Fault:
    kind, message, value = error["type"], error["msg"], error["input"]
    keys = _keys_in(tree, error["loc"], kind == "missing")
    if kind == "extra_forbidden":
        return _Fault(keys, "unknown key")
    if kind == "missing":
        return _Fault(keys, MISSING)
    if kind == "too_short":
        return _Fault(keys, "must have at least one entry")
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return _tag_fault(keys, error)
    if kind != "value_error":
        return _Fault(keys, PROBLEMS.get(kind, message.replace("Input should", "must")), f", not {_shown(value)}")
    message = message.removeprefix("Value error, ")
    if found := KEY.fullmatch(message):
        return _Fault((*keys, *found["key"].split(".")), found["rest"], section=keys)
    return _Fault(keys, message, "" if isinstance(value, dict | Section) else f", not {_shown(value)}")


def _tag_fault(keys: Keys, error: ErrorDetails) -> _Fault:
    """The key that says which class of a union is meant is missing, or says none of them."""
    context = error.get("ctx", {})
    name = str(context.get("discriminator", "")).strip("'")
    keys = (*keys, name if name.isidentifier() else "kind")
    if error["type"] == "union_tag_not_found":
        return _Fault(keys, MISSING)
    expected = str(context.get("expected_tags", "")).replace("'", "")
    return _Fault(keys, f"must be one of {expected}", f", not {_shown(context.get('tag'))}")


def _shown(value: Any) -> str:
    """A value as a user would write it, on one line."""
    if isinstance(value, dict | Section):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def _keys_in(tree: Tree, place: tuple[int | str, ...], missing: bool) -> Keys:
    """The parts of `place` that are keys of the file; pydantic puts the names of blocks among them."""
    node: Any = tree
    keys: list[str] = []
    for index, part in enumerate(place):
        last = missing and index == len(place) - 1
        if isinstance(node, dict) and part in node:
            node = node[part]
        elif isinstance(node, list) and isinstance(part, int):
            node = node[part] if part < len(node) else None
        elif not last:
            continue
        keys.append(str(part))
    return tuple(keys)
