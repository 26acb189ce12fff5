"""Every section of a configuration says what it is, in which unit, and is the only place of its defaults."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import pytest

import dualtk
from dualtk.options import Section, Unit

# Ends of the names of numbers that are counted or measured in something which the name does not say.
MEASURED = re.compile(
    r"(^|_)(accumulate|chunk|context|context_size|every|factor|frames|frequency|interval|kernels?|length|ms|range|"
    r"reduction|sample_rate|seconds|shift|stacking|steps?|strides?|top_k|width)$"
)


def sections() -> list[type[Section]]:
    """The options classes of the library."""
    for module in pkgutil.walk_packages(dualtk.__path__, "dualtk."):
        importlib.import_module(module.name)
    found, waiting = set(), [Section]
    while waiting:
        for one in waiting.pop().__subclasses__():
            if one not in found and one.__module__.startswith("dualtk."):
                found.add(one)
                waiting.append(one)
    return sorted(found, key=name_of)


def name_of(section: type[Section]) -> str:
    return f"{section.__module__}.{section.__name__}"


def parts(kind: object) -> Iterator[object]:
    """An annotation and all that it is made of."""
    yield kind
    for part in get_args(kind):
        yield from parts(part)


SECTIONS = sections()


def test_all_are_known() -> None:
    names = {name_of(section) for section in SECTIONS}
    assert {"dualtk.encoders.lstm.LSTMOptions", "dualtk.distill.three_way.ThreeWayOptions"} < names
    assert {"dualtk.system.TransducerSystem", "dualtk.train.stepping.TrainOptions"} < names


@pytest.mark.parametrize("section", SECTIONS, ids=name_of)
def test_every_field_says_what_it_is_and_in_which_unit(section: type[Section]) -> None:
    assert (vars(section).get("__doc__") or "").strip(), "no docstring"
    for name, field in section.model_fields.items():
        assert (field.description or "").strip(), f"{name}: no docstring below it"
        kinds = [*field.metadata, *parts(field.annotation)]
        if MEASURED.search(name) and (int in kinds or float in kinds):
            assert any(isinstance(kind, Unit) for kind in kinds), f"{name}: no unit"


@pytest.mark.parametrize("name", ["look_ahead_ms", "num_frames", "start_step", "save_every", "chunk", "prune_range"])
def test_names_that_want_a_unit(name: str) -> None:
    assert MEASURED.search(name)


@pytest.mark.parametrize("section", [section for section in SECTIONS if "build" in vars(section)], ids=name_of)
def test_a_default_stands_in_the_options_alone(section: type[Section]) -> None:
    """What `build` returns, and what it is made of in the same file."""
    build: Any = section.build  # type: ignore[attr-defined]
    try:
        made = get_type_hints(build)["return"]
    except NameError:  # imported for types alone: it is not of this file
        made = None
    for block in {made, *blocks_beside(section)}:
        if not inspect.isclass(block):
            continue
        for parameter in inspect.signature(block).parameters.values():
            if parameter.name in section.model_fields:
                assert parameter.default is inspect.Parameter.empty, f"{block.__name__}: {parameter.name}"


def blocks_beside(section: type[Section]) -> list[type]:
    """The classes of its file that are no options."""
    module = importlib.import_module(section.__module__)
    classes = [one for one in vars(module).values() if inspect.isclass(one) and one.__module__ == module.__name__]
    return [one for one in classes if not issubclass(one, Section)]
