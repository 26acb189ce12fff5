"""What is wrong with values that options do not take: one line with the file or option that says it, and the key."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from dualtk.options import Section

Tree = dict[str, Any]
Keys = tuple[str, ...]

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


def explain(error: ValidationError, tree: Tree, said: Callable[[Keys], str | None], source: str) -> str:
    """The first fault as one line: who says it, key's path, what is wrong.

    Args:
        error: of validating `tree`.
        tree: the values.
        said: the file or option that says the value of a key, if it is known.
        source: that otherwise leads the line.
    """
    faults = [_fault(one, tree) for one in error.errors()]
    first = faults[0]
    place = first.section or (first.keys[:-1] if first.problem == MISSING else first.keys)
    # A value that may be of several types has a fault for each of them.
    wanted = dict.fromkeys(one.problem for one in faults if one.keys == first.keys)
    return ": ".join(filter(None, [said(place) or source, ".".join(first.keys), " or ".join(wanted) + first.shown]))


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
    return _Fault(keys, message, "" if isinstance(value, dict | list | tuple | Section) else f", not {_shown(value)}")


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
        elif isinstance(node, list | tuple) and isinstance(part, int):
            node = node[part] if part < len(node) else None
        elif not last:
            continue
        keys.append(str(part))
    return tuple(keys)
