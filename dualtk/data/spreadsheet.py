"""Rows of a spreadsheet: TSV, CSV, or JSON, a line an object (NeMo's manifests) or a list of objects."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dualtk.errors import InputError
from dualtk.tables import once, read_lines

JSON_ENDINGS = (".jsonl", ".json", ".ndjson")
DEPTH = 4  # of objects in objects whose values are columns
ENDINGS = (".tsv", ".csv", ".txt", *JSON_ENDINGS)


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        where: it is in its file, as editors understand it.
        values: text by column.
        unusable: what stands in columns of JSON that have no text, such as "a list".
    """

    where: str
    values: Mapping[str, str]
    unusable: Mapping[str, str] = field(default_factory=dict)


def read_rows(path: Path, *, header: bool = True) -> list[Row]:
    """The rows of a file, whose ending says what it is; values are text, an absent one is empty.

    A TSV knows no quotes, as those of Common Voice. A CSV, or a text file, is separated by what its first line has:
    tabs, or upright bars, where there are no quotes either, as in LJSpeech, or else the more frequent of comma and
    semicolon.
    An object inside an object of JSON gives columns such as `audio.path`. A file that is one object around one list of
    objects is that list.

    Args:
        path: the file.
        header: whether the first line names the columns; otherwise their names are 1, 2 and so on.

    Raises:
        InputError: a file of another kind, without rows, or a row that is none; names the line.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise InputError(f"{path}: expected a file that ends in one of {' '.join(ENDINGS)}")
    rows = list(_objects(path) if ending in JSON_ENDINGS else _separated(path, ending, header=header))
    if not rows:
        raise InputError(f"{path}: has no rows")
    return rows


def _separated(path: Path, ending: str, *, header: bool) -> Iterator[Row]:
    lines = read_lines(path)
    separator = "\t" if ending == ".tsv" else _separator(lines[0] if lines else "")
    has_quotes = ending != ".tsv" and separator != "|"
    if has_quotes:
        reader = csv.reader((f"{line}\n" for line in lines), delimiter=separator, strict=True)
    else:
        reader = csv.reader(lines, delimiter=separator, quoting=csv.QUOTE_NONE)
    columns: list[str] = []
    try:
        for fields in reader:
            where = f"{path}:{reader.line_num}"
            if not columns and header:
                columns = [name.strip() for name in fields]
                if twice := sorted(name for name in {*columns} if name and columns.count(name) > 1):
                    raise InputError(f"{where}: the column {twice[0]} is there twice")
                continue
            columns = columns or [str(number) for number in range(1, len(fields) + 1)]
            if len(fields) != len(columns) and any(fields):
                opened = not has_quotes and any(one.startswith('"') and one.count('"') % 2 for one in fields)
                hint = f" (quotes mean nothing in a {ending}: if a value in quotes goes on there, call it .csv)"
                raise InputError(
                    f"{where}: has {len(fields)} columns, the first line {len(columns)}{hint if opened else ''}"
                )
            elif any(fields):
                yield Row(where, dict(zip(columns, fields)))
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}: no row of a table ({error})") from error


def _separator(line: str) -> str:
    unquoted = re.sub('"[^"]*"', "", line)
    if "\t" in unquoted:
        return "\t"
    return "|" if "|" in line else max(",;", key=unquoted.count)  # transcripts, even of a first line, have no bars


def _objects(path: Path) -> Iterator[Row]:
    lines = read_lines(path)
    text = "\n".join(lines)
    if text.lstrip().startswith("[") or _is_one_object(lines):
        try:
            for number, one in enumerate(_listed(path, _parsed(text, str(path))), start=1):
                yield _row(f"{path}: object {number}", one)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}:{error.lineno}: no JSON ({error.msg})") from error
        except RecursionError as error:
            raise InputError(f"{path}: no JSON (nested too deep)") from error
        return
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield _row(f"{path}:{number}", _parsed(line, f"{path}:{number}"))
            except json.JSONDecodeError as error:
                raise InputError(f"{path}:{number}: no JSON object ({error.msg})") from error
            except RecursionError as error:
                raise InputError(f"{path}:{number}: no JSON object (nested too deep)") from error


def _is_one_object(lines: Sequence[str]) -> bool:
    """Whether a file is one object over several lines, or around a list, rather than a line an object."""
    filled = [line for line in lines if line.strip()]
    if not filled or not filled[0].lstrip().startswith("{"):
        return False
    try:
        value = json.loads(filled[0])
    except (json.JSONDecodeError, RecursionError):
        return len(filled) > 1 and not filled[1].lstrip().startswith("{")
    return len(filled) == 1 and bool(_lists(value))


def _listed(path: Path, value: Any) -> list[Any]:
    """The objects of a list, of one object around a list, or of one that stands alone."""
    if isinstance(value, list):
        return value
    lists = _lists(value)
    if len(lists) > 1:
        raise InputError(f"{path}: one object around the lists {' and '.join(lists)}: expected one, that of the rows")
    return list(value[lists[0]]) if lists else [value]


def _lists(value: Mapping[str, Any]) -> list[str]:
    """The keys under which an object has a list of objects."""
    lists = {key: one for key, one in value.items() if isinstance(one, list) and one}
    return [key for key, one in lists.items() if all(isinstance(row, dict) for row in one)]


def _parsed(text: str, where: str) -> Any:
    """What JSON says.

    Raises:
        InputError: a key that an object has twice.
    """
    try:
        return json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError:
        raise
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error


def _row(where: str, value: Any) -> Row:
    if not isinstance(value, dict):
        raise InputError(f"{where}: no JSON object")
    unusable: dict[str, str] = {}
    return Row(where, dict(_columns(value, unusable)), unusable)


def _columns(value: Mapping[str, Any], unusable: dict[str, str], before: str = "") -> Iterator[tuple[str, str]]:
    for key, one in value.items():
        if isinstance(one, dict) and before.count(".") < DEPTH:
            yield from _columns(one, unusable, f"{before}{key}.")
        elif isinstance(one, str):
            yield before + key, one
        elif isinstance(one, list | dict):
            unusable[before + key] = "a list" if isinstance(one, list) else "an object"
        else:
            is_none = one is None or one != one  # what tables write for a cell without a value: null, NaN
            yield before + key, "" if is_none else json.dumps(one)
