"""Rows of a spreadsheet: TSV, CSV, or JSON, a line an object (NeMo's manifests) or a list of objects."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dualtk.errors import InputError
from dualtk.tables import read_lines

JSON_ENDINGS = (".jsonl", ".json", ".ndjson")
ENDINGS = (".tsv", ".csv", *JSON_ENDINGS)


@dataclass(frozen=True)
class Row:
    """One row: where it is in its file, as editors understand it, and its values by column."""

    where: str
    values: Mapping[str, str]


def read_rows(path: Path) -> list[Row]:
    """The rows of a file, whose ending says what it is; values are text, an absent one is empty.

    A TSV knows no quotes, as those of Common Voice; a CSV is separated by the more frequent of comma and semicolon of
    its first line.

    Raises:
        InputError: a file of another kind, without rows, or a row that is none; names the line.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise InputError(f"{path}: expected a file that ends in one of {' '.join(ENDINGS)}")
    rows = list(_objects(path) if ending in JSON_ENDINGS else _separated(path, ending))
    if not rows:
        raise InputError(f"{path}: has no rows")
    return rows


def _separated(path: Path, ending: str) -> Iterator[Row]:
    lines = read_lines(path)
    header = lines[0] if lines else ""
    if ending == ".tsv":
        reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader((f"{line}\n" for line in lines), delimiter=max(",;", key=header.count), strict=True)
    columns: list[str] = []
    try:
        for fields in reader:
            where = f"{path}:{reader.line_num}"
            if not columns:
                columns = [name.strip() for name in fields]
                if twice := sorted(name for name in {*columns} if name and columns.count(name) > 1):
                    raise InputError(f"{where}: the column {twice[0]} is there twice")
            elif len(fields) != len(columns) and any(fields):
                raise InputError(f"{where}: has {len(fields)} columns, the first line {len(columns)}")
            elif any(fields):
                yield Row(where, dict(zip(columns, fields)))
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}: no row of a table ({error})") from error


def _objects(path: Path) -> Iterator[Row]:
    lines = read_lines(path)
    text = "\n".join(lines)
    if text.lstrip().startswith("["):
        try:
            for number, one in enumerate(_parsed(text, str(path)), start=1):
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


def _parsed(text: str, where: str) -> Any:
    """What JSON says.

    Raises:
        InputError: a key that an object has twice.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        if twice := sorted(key for key in {*keys} if keys.count(key) > 1):
            raise InputError(f"{where}: the key {twice[0]} is there twice")
        return dict(pairs)

    return json.loads(text, object_pairs_hook=once)


def _row(where: str, value: Any) -> Row:
    if not isinstance(value, dict):
        raise InputError(f"{where}: no JSON object")
    plain = {key: one for key, one in value.items() if isinstance(one, str | int | float)}
    return Row(where, {key: one if isinstance(one, str) else repr(one) for key, one in plain.items()})
