"""Rows of TSV, CSV and JSON files as other programs write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dualtk.data.spreadsheet import read_rows
from dualtk.errors import InputError


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.tsv", 'path\ttext\na.wav\t"so" he said\nb.wav\tit\'s\n', ['"so" he said', "it's"]),
        ("a.TSV", "\ufeffpath\ttext\r\na.wav\tone\r\n\r\nb.wav\ttwo\r\n", ["one", "two"]),
        ("a.csv", 'path,text\na.wav,"one, two"\nb.wav,"say ""so"""\n', ["one, two", 'say "so"']),
        ("a.csv", "path;text\na.wav;one, two\nb.wav;\n", ["one, two", ""]),
        ("a.csv", 'path,text\na.wav,"two\nlines"\nb.wav,x\n', ["two\nlines", "x"]),
        ("a.jsonl", '{"path": "a", "text": "one"}\n\n{"text": "zwei", "duration": 1.5}\n', ["one", "zwei"]),
        ("a.json", '[{"text": "one"},\n {"text": "two", "words": [1]}]\n', ["one", "two"]),
    ],
)
def test_values_by_column(tmp_path: Path, name: str, content: str, expected: list[str]) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8", newline="")
    assert [row.values["text"] for row in read_rows(tmp_path / name)] == expected


def test_rows_say_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('text\n"two\nlines"\nx\n')
    assert [row.where for row in read_rows(tmp_path / "a.csv")] == [f"{tmp_path}/a.csv:3", f"{tmp_path}/a.csv:4"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "path\ttext\na.wav\n", r"a\.tsv:2: has 1 columns, the first line 2"),
        ("a.tsv", 'path\ttext\n"one\ntwo"\ta\n', r"a\.tsv:2: has 1 columns, the first line 2 \(quotes mean nothing"),
        ("a.csv", 'path,text\na,"b"c\n', r"a\.csv:2: no row of a table"),
        ("a.csv", "path,text\n", r"a\.csv: has no rows"),
        ("a.jsonl", '{"text": "a"}\n{"text": \n', r"a\.jsonl:2: no JSON object"),
        ("a.jsonl", '"text"\n', r"a\.jsonl:1: no JSON object"),
        ("a.json", '[{"text": "a"}, 3]', r"a\.json: object 2: no JSON object"),
        ("a.json", '[{"text": "a"},', r"a\.json:1: no JSON"),
        ("a.xlsx", "", r"a\.xlsx: expected a file that ends in one of \.tsv \.csv"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read_rows(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", 'a.wav|he said; "so|a, b, "c', ['he said; "so']),
        ("a.csv", 'a.wav|he said "so|x\nb.wav|one, two, three|y\n', ['he said "so', "one, two, three"]),
        ("a.txt", "a.wav|one|s1\n", ["one"]),
        ("a.tsv", "a.wav\tone\n", ["one"]),
    ],
)
def test_without_a_header_columns_are_numbered(tmp_path: Path, name: str, content: str, expected: list[str]) -> None:
    (tmp_path / name).write_text(content)
    assert [row.values["2"] for row in read_rows(tmp_path / name, header=False)] == expected


def test_what_separates_columns_is_not_looked_for_in_quotes(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('path\t"text, as, spoken"\na.wav\t"one\ntwo"\n')
    assert [row.values["text, as, spoken"] for row in read_rows(tmp_path / "a.csv")] == ["one\ntwo"]


def test_objects_inside_objects_are_columns(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"audio": {"path": "a.wav", "bytes": null}, "text": "one"}\n')
    assert read_rows(tmp_path / "a.jsonl")[0].values == {"audio.path": "a.wav", "audio.bytes": "", "text": "one"}


@pytest.mark.parametrize(
    "content",
    [
        '{"data": [{"text": "one"}, {"text": "two"}]}',
        '{\n  "version": 1,\n  "data": [\n    {"text": "one"},\n    {"text": "two"}\n  ]\n}\n',
        '{"version": {"of": "x"}, "rows": [{"text": "one"}, {"text": "two"}], "tags": ["a"]}\n',
    ],
)
def test_one_object_around_the_rows(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    rows = read_rows(tmp_path / "a.json")
    assert [row.values["text"] for row in rows] == ["one", "two"]
    assert rows[1].where == f"{tmp_path}/a.json: object 2"


def test_an_object_that_stands_alone_is_a_row(tmp_path: Path) -> None:
    for content in ('{"text": "one"}\n', '{\n "text": "one"\n}\n'):
        (tmp_path / "a.json").write_text(content)
        assert [row.values for row in read_rows(tmp_path / "a.json")] == [{"text": "one"}]


def test_one_object_around_two_lists_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"train": [{"text": "one"}], "test": [{"text": "two"}]}')
    with pytest.raises(InputError, match=r"a\.json: one object around the lists train and test: expected one"):
        read_rows(tmp_path / "a.json")


def test_values_are_text_as_json_has_it(tmp_path: Path) -> None:
    line = '{"yes": true, "number": 1.50, "big": 12345678901234567890, "none": null, "nan": NaN, "list": ["a"]}\n'
    (tmp_path / "a.jsonl").write_text(line)
    (row,) = read_rows(tmp_path / "a.jsonl")
    assert row.values == {"yes": "true", "number": "1.5", "big": "12345678901234567890", "none": "", "nan": ""}
    assert row.unusable == {"list": "a list"}
