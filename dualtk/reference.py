"""The reference of the configuration: every key, from the options classes and the docstrings of their fields."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from dualtk.lm_training.options import LanguageModelSystem
from dualtk.options import LARGEST, Section, Unit
from dualtk.system import PRETRAINING, PretrainingSystem, TransducerSystem
from dualtk.yaml_text import on_one_line

ROOTS = (TransducerSystem, PretrainingSystem)
HEADER = ("key", "type", "default", "range", "unit", "meaning")
TYPES = {int: "whole number", float: "number", bool: "true or false", str: "text", Path: "path", types.NoneType: "null"}
PLURALS = {"whole number": "whole numbers", "number": "numbers", "section": "sections", "text": "texts"}


@dataclass(frozen=True)
class Key:
    """One key of the reference; texts are as they are shown, and empty where there is nothing to say."""

    name: str
    type: str
    default: str
    range: str
    unit: str
    meaning: str


@dataclass(frozen=True)
class Block:
    """The keys of one options class, where it stands in a YAML.

    Attributes:
        path: of the section; upper case stands for a name of one's own.
        name: what its tag says, such as `name: conformer`; empty where it has none.
        meaning: what it is.
        keys: in the order of the class.
    """

    path: str
    name: str
    meaning: str
    keys: Sequence[Key]


@dataclass
class _Kind:
    """What a value may be: types, ranges, unit, and the options classes among the types with the path to them."""

    types: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    unit: str = ""
    sections: list[tuple[type[Section], str]] = field(default_factory=list)


def reference(roots: Sequence[type[Section]] = ROOTS) -> list[Block]:
    """All blocks of files that hold one of `roots`, those of every section one after the other."""
    found: dict[tuple[str, str], Block] = {}
    places: dict[type[Section], str] = {}
    top: dict[str, Key] = {}
    for root in roots:
        top |= {name: _key(name, info, places) for name, info in root.model_fields.items() if name not in top}
    if PRETRAINING in top:
        top[PRETRAINING] = replace(top[PRETRAINING], default="none")
    found["", ""] = Block("", "", "The sections of a file.", list(top.values()))
    for root in roots:
        for block in _below(root, "", places):
            found.setdefault((block.path, block.name), block)
    return sorted(found.values(), key=lambda block: list(top).index(block.path.split(".")[0]) if block.path else -1)


def _below(owner: type[Section], path: str, places: dict[type[Section], str]) -> Iterator[Block]:
    """The blocks inside `owner`, each class where it is met first; `places` remembers where that is."""
    for name, info in owner.model_fields.items():
        for section, more in _kind(info.annotation, info.metadata).sections:
            place = f"{path}{name}{more}"
            if places.setdefault(section, place) != place:
                continue
            keys = [_key(key, one, places) for key, one in section.model_fields.items() if not _is_tag(key, one)]
            yield Block(place, _tag(section), inspect.cleandoc(section.__doc__ or ""), keys)
            yield from _below(section, f"{place}.", places)


def _is_tag(name: str, info: FieldInfo) -> bool:
    """Whether a key only says which class its section is of."""
    return name in ("name", "kind") and get_origin(info.annotation) is Literal and len(get_args(info.annotation)) == 1


def _tag(section: type[Section]) -> str:
    for name, info in section.model_fields.items():
        if _is_tag(name, info):
            return f"{name}: {get_args(info.annotation)[0]}"
    return ""


def _key(name: str, info: FieldInfo, places: dict[type[Section], str]) -> Key:
    kind = _kind(info.annotation, info.metadata)
    ranges = " or ".join(dict.fromkeys(kind.ranges))
    types_ = " or ".join(dict.fromkeys(kind.types))
    known = {places[section] for section, more in kind.sections if section in places}
    if known:
        types_ += f", as `{sorted(known)[0]}`"
    return Key(name, types_, _default(info), ranges, kind.unit, " ".join((info.description or "").split()))


def _default(info: FieldInfo) -> str:
    if info.default is PydanticUndefined:
        return "required"
    if isinstance(info.default, Section):
        tag = _tag(type(info.default))
        return f"`{tag}`" if tag else "its defaults"
    return f"`{on_one_line(list(info.default) if isinstance(info.default, tuple) else info.default)}`"


def _kind(annotation: Any, metadata: Sequence[Any]) -> _Kind:
    """What values an annotation stands for."""
    kind = _inner_kind(annotation)
    if limits := _range(metadata, whole=kind.types == [TYPES[int]]):
        kind.ranges.append(limits)
    for one in metadata:
        if isinstance(one, Unit):
            kind.unit = one.name
    return kind


def _inner_kind(annotation: Any) -> _Kind:
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(inside[0], inside[1:])
    if origin is Literal:
        return _Kind([", ".join(f"`{one}`" for one in inside)])
    if origin in (Union, types.UnionType):
        parts = [_inner_kind(one) for one in inside]
        return _Kind(
            [one for part in parts for one in part.types],
            [one for part in parts for one in part.ranges],
            next((part.unit for part in parts if part.unit), ""),
            [one for part in parts for one in part.sections],
        )
    if origin in (list, tuple):
        return _listed(_inner_kind(inside[0]), len(inside) if origin is tuple and Ellipsis not in inside else None)
    if origin is dict:
        part = _inner_kind(inside[1])
        return _Kind(["sections by name"], [], "", [(section, f".NAME{more}") for section, more in part.sections])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        assert issubclass(annotation, Section)
        return _Kind(["section"], sections=[(annotation, "")])
    return _Kind([TYPES[annotation]])


def _listed(part: _Kind, count: int | None) -> _Kind:
    number = "a list of" if count is None else f"a list of {count}"
    kinds = [f"{number} {PLURALS[one]}" for one in part.types]
    return _Kind(kinds, part.ranges, part.unit, [(section, f".N{more}") for section, more in part.sections])


def _constraints(metadata: Sequence[Any]) -> Iterator[Any]:
    for one in metadata:
        if isinstance(one, FieldInfo):
            yield from _constraints(one.metadata)
        else:
            yield from one if isinstance(one, annotated_types.GroupedMetadata) else [one]


def _range(metadata: Sequence[Any], whole: bool) -> str:
    """The limits that a value, or a `whole` number, has, in words."""
    limits: dict[str, Any] = {}
    for constraint in _constraints(metadata):
        for name in ("ge", "gt", "le", "lt", "multiple_of", "min_length"):
            if getattr(constraint, name, None) is not None:
                limits[name] = getattr(constraint, name)
    if whole and "gt" in limits:
        limits["ge"] = limits.pop("gt") + 1
    low = {"ge": "at least {}", "gt": "above {}"}
    high = {"le": "at most {}", "lt": "below {}"}
    words = [text.format(limits[name]) for name, text in {**low, **high}.items() if name in limits]
    if {"ge", "le"} <= limits.keys():
        words = [f"{limits['ge']} to {limits['le']}"]
    if "multiple_of" in limits:
        words.append(f"a multiple of {limits['multiple_of']}")
    if "min_length" in limits:
        words.append("not empty")
    return ", ".join(words)


def markdown() -> str:
    """The reference as a page."""
    only_transducer = [name for name in TransducerSystem.model_fields if name not in PretrainingSystem.model_fields]
    parts = [
        "# Keys of the configuration\n\n"
        "What `dualtk config reference` prints. A key that is not given has its default; `null` stands for nothing.\n"
        "NAME stands for a name of one's own, N for a place in a list, from 0. Whole numbers are at most "
        f"{LARGEST}.\n`dualtk config show YAML` prints the values of a file, and where each comes from.\n\n"
        f"A file with a section `{PRETRAINING}` describes a pre-training: of `model` it has the encoder alone, and\n"
        f"none of the sections {', '.join(f'`{name}`' for name in only_transducer)}.\n"
    ]
    blocks = reference()
    parts += _sections(blocks)
    parts.append(
        "# Keys of a language model\n\n"
        "What `dualtk train-lm` reads for a network; `optimizer` and `schedule` are as above.\n"
    )
    parts += _sections([block for block in reference((LanguageModelSystem,)) if block not in blocks])
    return "\n".join(parts)


def _sections(blocks: Sequence[Block]) -> Iterator[str]:
    """The blocks, each section under a heading."""
    section = ""
    for block in blocks:
        own = block.path.split(".")[0]
        if own != section:
            yield f"## `{own}`\n"
            section = own
        title = f"`{block.path}`" + (f", `{block.name}`" if block.name else "")
        if title != f"`{own}`" and own:
            yield f"### {title}\n"
        yield f"{block.meaning}\n"
        if block.keys:
            yield _table(block.keys)


def _table(keys: Sequence[Key]) -> str:
    rows = [[f"`{key.name}`", key.type, key.default, key.range, key.unit, key.meaning] for key in keys]
    widths = [max(len(row[column]) for row in [HEADER, *rows]) for column in range(len(HEADER) - 1)]
    lines = [_row(HEADER, widths), "|" + "|".join("-" * (width + 2) for width in widths) + "|---|"]
    return "\n".join([*lines, *(_row(row, widths) for row in rows)]) + "\n"


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    texts = [cell.replace("|", "\\|") for cell in cells]
    padded = [text.ljust(width) for text, width in zip(texts, widths)]
    return "| " + " | ".join([*padded, texts[-1]]) + " |"
