"""Print docs/api.md: the public face of dualtk, from its docstrings.

python tools/api_page.py > docs/api.md
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from typing import Any

import dualtk
import dualtk.lattice

FACE = (
    "load",
    "Recognizer",
    "Result",
    "Segment",
    "SpokenWord",
    "Stream",
    "EndpointOptions",
    "SearchOptions",
    "InputError",
)
LOSSES = ("rnnt_loss", "rnnt_loss_simple", "rnnt_loss_pruned", "Lattice")
WITH_METHODS = ("Result", "Lattice")  # of the dataclasses; the others are their attributes


def documented(text: str | None) -> str:
    """A docstring, its sections as lists."""
    lines: list[str] = []
    for line in inspect.cleandoc(text or "").splitlines():
        is_heading = line.rstrip(":") in ("Args", "Returns", "Raises", "Attributes") and line.endswith(":")
        is_item = line.startswith("    ") and not line.startswith("     ")
        lines.append(f"**{line.rstrip(':')}**\n" if is_heading else f"- {line.strip()}" if is_item else line)
    return "\n".join(lines)


def argument(one: inspect.Parameter) -> str:
    """Name, type and default of a parameter."""
    default = "" if one.default is inspect.Parameter.empty else f" = {one.default!r}"
    return f"{one.name}: {one.annotation}{default}"


def signature(name: str, value: Any) -> str:
    """A call, one argument a line where it is long."""
    parameters: list[str] = []
    for key, one in inspect.signature(value).parameters.items():
        if one.kind is inspect.Parameter.KEYWORD_ONLY and "*" not in parameters:
            parameters.append("*")
        parameters += [] if key == "self" else [argument(one)]
    returns = inspect.signature(value).return_annotation
    arrow = "" if returns in (inspect.Signature.empty, "None", None) else f" -> {returns}"
    whole = f"{name}({', '.join(parameters)}){arrow}"
    return whole if len(whole) <= 100 else f"{name}(\n" + "".join(f"    {one},\n" for one in parameters) + f"){arrow}"


def members(owner: type) -> Iterator[str]:
    """The public methods and properties of a class."""
    for name, value in vars(owner).items():
        if name.startswith("_") or name == "model_config":
            continue
        if isinstance(value, property):
            yield f"#### `{name}`\n\n{documented(value.__doc__)}\n"
        elif inspect.isfunction(value):
            yield f"#### `{name}`\n\n```python\n{signature(name, value)}\n```\n\n{documented(value.__doc__)}\n"


def fields(owner: Any) -> Iterator[str]:
    """The fields of an options class with their defaults."""
    for name, field in owner.model_fields.items():
        yield f"- `{name} = {field.default!r}`: {' '.join((field.description or '').split())}"


def entry(place: str, name: str, value: Any) -> Iterator[str]:
    """One name of the face."""
    yield f"### `{place}.{name}`\n"
    is_class, is_options = inspect.isclass(value), hasattr(value, "model_fields")
    if not is_class:
        yield f"```python\n{signature(name, value)}\n```\n"
    yield f"{documented(value.__doc__)}\n"
    if is_options:
        yield from fields(value)
        yield ""
    elif is_class and (not dataclasses.is_dataclass(value) or value.__name__ in WITH_METHODS):
        yield from members(value)


def page() -> str:
    """The whole page."""
    lines = ["# The Python API\n", "Made by `python tools/api_page.py > docs/api.md`.\n", "## Recognising\n"]
    for name in FACE:
        lines += entry("dualtk", name, getattr(dualtk, name))
    lines.append("## Losses\n")
    for name in LOSSES:
        lines += entry("dualtk.lattice", name, getattr(dualtk.lattice, name))
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    print(page(), end="")
