"""YAML text: values are what they look like, and what is no plain YAML is one line with its place, at once."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest

from dualtk.errors import InputError
from dualtk.yaml_text import DEEPEST, LONGEST_TEXT, MOST_VALUES, plain, to_text


def refusal(text: str) -> str:
    started = time.monotonic()
    with pytest.raises(InputError) as caught:
        plain(text, "x.yaml")
    assert time.monotonic() - started < 5.0
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1.0e-9", 1e-9),
        (".5", 0.5),
        ("-2", -2),
        ("010", 10),
        ("true", True),
        ("~", None),
        ("", None),
        ("yes", "yes"),
        ("off", "off"),
        ("2:4", "2:4"),
        ("2020-01-01", "2020-01-01"),
        ("1_000", "1_000"),
        ("'5'", "5"),
        ("!!str 5", "5"),
        ("{a: [1, x]}", {"a": [1, "x"]}),
        ("-.inf", -math.inf),
    ],
)
def test_values_are_what_they_look_like(text: str, value: Any) -> None:
    found = plain(text, "x")
    assert found == value
    assert type(found) is type(value)


def test_what_is_written_is_read_again() -> None:
    odd = [
        "1e3",
        "1e-3",
        "2:4",
        "yes",
        "null",
        "",
        "~",
        "010",
        "0x1f",
        "2020-01-01",
        "<<",
        "=",
        "1_0",
        ".nan",
        "é",
        "a: b",
    ]
    values = {
        "text": odd,
        "numbers": [1, 1.0, 1e-9, -3, 1e30, 0.1],
        "others": [None, True, False, [], {}],
        "Ω": {"a b": "#"},
    }
    assert plain(to_text(values), "x") == values


def test_python_tags_are_refused_and_never_run(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    assert refusal(f"a: 1\nmodel: !!python/object/apply:pathlib.Path.touch [{victim}]\n") == (
        "x.yaml:2: not plain YAML: the tag !!python/object/apply:pathlib.Path.touch"
    )
    assert not victim.exists()


@pytest.mark.parametrize(
    ("opening", "entry", "closing"),
    [("[", "{alias}", "]"), ("{", "k{number}: {alias}", "}"), ("{<<: [", "{alias}", "]}")],
    ids=["lists", "mappings", "merged"],
)
def test_aliases_that_explode_are_counted_and_not_written_out(opening: str, entry: str, closing: str) -> None:
    """Nine lines, each of ten times the line before."""
    lines = ["l0: &l0 {x: 1}"]
    for index in range(9):
        entries = [entry.format(number=number, alias=f"*l{index}") for number in range(10)]
        lines.append(f"l{index + 1}: &l{index + 1} {opening}{', '.join(entries)}{closing}")
    assert refusal("\n".join(lines)).endswith(f"more than {MOST_VALUES} values, those that aliases repeat among them")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\ntrain: {}\nb: 2\ntrain: {}\n", "x.yaml:4: not plain YAML: the key train is there twice"),
        ("a: {b: {c: 1, c: 1}}", "x.yaml: not plain YAML: the key c is there twice"),
        ("a: 1\n'a': 2\n", "x.yaml:2: not plain YAML: the key a is there twice"),
        ("a:\n  5: x\n", "x.yaml:2: not plain YAML: the key 5 is not text; quotes make it text"),
        ("[a, b]: x", "x.yaml: not plain YAML: the key is not text; quotes make it text"),
        (
            "'a\\nb': 1\n\"c\\nd\": 1\n",
            "x.yaml:2: not plain YAML: the key 'c\\nd' has characters that cannot be printed",
        ),
        ("&a [*a]", "x.yaml: not plain YAML: an alias inside what it stands for"),
        ("&a {b: *a}", "x.yaml: not plain YAML: an alias inside what it stands for"),
        ("a: *nowhere", "x.yaml: not plain YAML: found undefined alias 'nowhere'"),
        ("[" * 100_000, f"x.yaml: not plain YAML: nested more than {DEEPEST} deep"),
        (
            "\n".join(" " * depth + "a:" for depth in range(500)),
            f"x.yaml:30: not plain YAML: nested more than {DEEPEST}",
        ),
        ("- x\n" * 100_000, f"x.yaml:{2 * MOST_VALUES}: not plain YAML: more than {MOST_VALUES} values"),
        ("a: " + "x" * LONGEST_TEXT, f"x.yaml: not plain YAML: more than {LONGEST_TEXT} characters"),
        ("a: " + "9" * 5000, "x.yaml: not plain YAML: a number of 5000 digits"),
        ("a: !!binary aGk=", "x.yaml: not plain YAML: the tag !!binary"),
        ("a: !!int x", "x.yaml: not plain YAML: 'x' is no int"),
        ("a: !!bool maybe", "x.yaml: not plain YAML: 'maybe' is no bool"),
        ("a: !own x", "x.yaml: not plain YAML: the tag !own"),
        ("a: !!map [1]", "x.yaml: not plain YAML: expected a mapping node, but found sequence"),
        ('a: "\\0"', "x.yaml: not plain YAML: '\\x00' has characters that no text has"),
        ('a: "\\ud800"', "x.yaml: not plain YAML: '\\ud800' has characters that no text has"),
        ("a: 1\nb: \x01", "x.yaml:2: not plain YAML: special characters are not allowed"),
        ("a: 1\n---\nb: 2", "x.yaml:2: not plain YAML: expected a single document in the stream, but found another"),
        ("a: 1\nb: [1", "x.yaml:2: not plain YAML: while parsing a flow sequence, expected ',' or ']'"),
        ("a:\n\t- b", "x.yaml:2: not plain YAML: while scanning for the next token, found character '\\t'"),
        ("a: {<<: 5}", "x.yaml: not plain YAML: while constructing a mapping, expected a mapping or list of mappings"),
    ],
    ids=lambda text: str(text)[:30].encode("unicode_escape").decode(),
)
def test_what_is_no_plain_yaml_is_one_line(text: str, line: str) -> None:
    assert refusal(text).startswith(line)


def test_anchors_may_save_writing() -> None:
    assert plain("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: *a\n", "x")["b"] == {"x": 1, "y": 3}
