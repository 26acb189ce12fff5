"""Text files as every stage reads them: lines, tables of `key value`, and lines of JSON.

All are UTF-8; a byte order mark is passed over, lines end in LF or CRLF, and a key ends at a space or a tab.
"""

from __future__ import annotations

import codecs
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from dualtk.errors import InputError
from dualtk.files import write_text

Line = TypeVar("Line")

NO_JSON = (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError)
LONGEST_NAME = 200  # bytes; a file system allows 255, and names get endings


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, without their ends.

    Raises:
        InputError: the file cannot be read, or is not UTF-8 (the line says where).
    """
    try:
        if path.is_char_device():
            raise InputError(f"{path}: is a device")
        content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        lines = content.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        hint = f"iconv -f {'UTF-16' if utf16 else 'WINDOWS-1252'} -t UTF-8 FILE >NEW, if that is what it is"
        raise InputError(f"{path}:{number}: is not UTF-8 ({hint})") from error
    if lines[-1] == "":
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


@dataclass
class Table:
    """One parsed table: its entries, the line of each, and what is wrong with it (each fault names file and line)."""

    path: Path
    entries: dict[str, str] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def where(self, key: str) -> str:
        """`file:line` of an entry, as editors understand it."""
        return f"{self.path}:{self.lines[key]}" if key in self.lines else str(self.path)


def parse_table(path: Path, *, ordered: bool = True, empty_values: bool = False) -> Table:
    """Parse a table and collect every fault: empty lines, duplicates, encoding.

    Args:
        path: the file.
        ordered: whether lines out of the order of `LC_ALL=C sort` are faults.
        empty_values: whether a key may stand alone, as that of an utterance in which no word was recognised.
    """
    table = Table(path)
    try:
        lines = read_lines(path)
    except InputError as error:
        table.faults.append(str(error))
        return table
    if not lines:
        table.faults.append(f"{path}: is empty")
    previous = ""
    for number, line in enumerate(lines, start=1):
        key, _, value = line.strip().replace("\t", " ").partition(" ")
        if not key:
            table.faults.append(f"{path}:{number}: is an empty line")
            continue
        if fault := name_fault(key):
            table.faults.append(f"{path}:{number}: {fault}")
            continue
        if key in table.entries:
            table.faults.append(f"{path}:{number}: {key} occurs twice (first in line {table.lines[key]})")
            continue
        if not value and not empty_values:
            table.faults.append(f"{path}:{number}: {key} has no value{_hint(path)}")
        if ordered and key < previous:  # code points sort as their UTF-8 bytes do, which is LC_ALL=C
            table.faults.append(f"{path}:{number}: {key} is out of order after {previous} (use LC_ALL=C sort)")
        previous = key
        table.entries[key] = value.strip()
        table.lines[key] = number
    return table


def name_fault(name: str) -> str:
    """Why `name` cannot be that of an utterance or a speaker, for files are called by it; empty where it can."""
    if not name.isprintable():
        return f"the id {name[:LONGEST_NAME]} has characters that cannot be seen"
    size = len(name.encode("utf-8", errors="surrogatepass"))
    return f"the id {name[:40]}... has {size} bytes, more than {LONGEST_NAME}" if size > LONGEST_NAME else ""


def _hint(path: Path) -> str:
    return " (an empty transcript)" if path.name.endswith(("text", ".trans.txt")) else ""


def load_table(path: Path, *, ordered: bool = True, empty_values: bool = False) -> Table:
    """Parse a table and refuse it at its first fault."""
    table = parse_table(path, ordered=ordered, empty_values=empty_values)
    if table.faults:
        more = f" (and {len(table.faults) - 1} more faults: dualtk validate)" if len(table.faults) > 1 else ""
        raise InputError(table.faults[0] + more)
    return table


def each_entry(path: Path, *, empty_values: bool = False) -> Iterator[tuple[str, str]]:
    """The entries of a table, which is in the order of `LC_ALL=C sort`, one by one: memory need not hold them.

    Raises:
        InputError: as `load_table`.
    """
    previous = ""
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as stream:
            for line in stream:
                key, _, value = line.strip().replace("\t", " ").partition(" ")
                if not key or key <= previous or name_fault(key) or not (value or empty_values):
                    break
                previous = key
                yield key, value.strip()
            else:
                if previous:
                    return
    except (OSError, UnicodeDecodeError):
        pass
    load_table(path, empty_values=empty_values)
    raise InputError(f"{path}: changed while it was read")


def read_table(path: Path, *, ordered: bool = True, empty_values: bool = False) -> dict[str, str]:
    """The entries of a table in file order; InputError names the first faulty line."""
    return load_table(path, ordered=ordered, empty_values=empty_values).entries


def table_text(entries: Mapping[str, object]) -> str:
    """Lines `key value` in the order of `LC_ALL=C sort`."""
    return "".join(f"{key} {entries[key]}\n" for key in sorted(entries))


def write_table(path: Path, entries: Mapping[str, object]) -> None:
    """Write `key value` lines in the order of `LC_ALL=C sort`, whole or not at all."""
    write_text(path, table_text(entries))


def compare_keys(listing: Table, table: Table) -> list[str]:
    """Utterances of `listing` that `table` lacks, and those that only `table` has, a line each."""
    word = "transcript" if table.path.name == "text" else f"line in {table.path.name}"
    missing = [f"{listing.where(key)}: utterance {key} has no {word}" for key in listing.entries.keys() - table.entries]
    extra = [
        f"{table.where(key)}: utterance {key} is not in {listing.path.name}"
        for key in table.entries.keys() - listing.entries
    ]
    return sorted(missing) + sorted(extra)


def read_jsonl(path: Path, parse: Callable[[Any], Line], content: str) -> Iterator[Line]:
    """What `parse` makes of every line of JSON that is not empty.

    Raises:
        InputError: the file cannot be read, or a line is no JSON or nothing that `parse` takes; `content` names what
            was expected.
    """
    for number, line in enumerate(read_lines(path), start=1):
        if line.strip():
            try:
                yield parse(_parsed(line))
            except NO_JSON as error:
                raise InputError(f"{path}:{number}: not a line of {content} ({error})") from None


def read_json(path: Path, model: type[BaseModel] | None = None) -> dict[str, Any]:
    """The object of a JSON file that has what `model` wants; without one, any object.

    Raises:
        InputError: the file cannot be read, is no JSON object, or one of its values is not what it should be.
    """
    return parse_json("\n".join(read_lines(path)), path, model)


def parse_json(text: str, where: object, model: type[BaseModel] | None = None) -> dict[str, Any]:
    """The same of a text; `where` is what it was read from."""
    try:
        values = _parsed(text)
        if not isinstance(values, dict):
            raise ValueError("not an object")
        if model is not None:
            model.model_validate_json(text)
    except ValidationError as error:
        raise InputError(f"{where}: {_explain(error)}") from None
    except NO_JSON as error:
        raise InputError(f"{where}: is not JSON ({error})") from None
    return values


def _explain(error: ValidationError) -> str:
    """The first fault, with the path of its key."""
    fault = error.errors()[0]
    key, said = ".".join(map(str, fault["loc"])), fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "missing":
        return f"lacks the key {key}"
    return f"{key}: {said}" if key else said


def json_text(values: Mapping[str, Any]) -> str:
    """An object as JSON, in which a number that is not finite is null."""
    return json.dumps(_finite(values), indent=2, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _parsed(text: str) -> Any:
    return json.loads(text, parse_constant=_no_number, object_pairs_hook=once)


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The keys and values of a JSON object; ValueError where a key is there twice."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key} is there twice")
        found[key] = value
    return found


def text_in(entry: Mapping[str, Any], key: str) -> str:
    """A text of a JSON object; TypeError where it is none."""
    if not isinstance(entry[key], str):
        raise TypeError(f"{key} is no text")
    return str(entry[key])


def number_in(value: object) -> float:
    """A finite number of JSON; TypeError or ValueError where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    return finite(str(value))


def finite(text: str) -> float:
    """The number that `text` says; ValueError where that is none, or not finite."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a finite number")
    return number


def _no_number(constant: str) -> float:
    raise ValueError(f"{constant} is not a number")
