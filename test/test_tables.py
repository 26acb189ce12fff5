"""Tables are read as they are written, by whatever system; every fault has its file and line."""

from __future__ import annotations

import random
import subprocess

import pytest

from dualtk.errors import InputError
from dualtk.tables import load_table, parse_table, read_json, read_jsonl, read_lines, read_table, write_table


def test_round_trip(tmp_path):
    entries = {"b": "two words", "a": "ünï", "B": "x", "a-1": "y", "é": "z"}
    write_table(tmp_path / "text", entries)
    assert read_table(tmp_path / "text") == entries
    assert not list(tmp_path.glob(".*"))


def test_order_is_that_of_sort(tmp_path):
    generator = random.Random(0)
    keys = {"".join(generator.choices("aZz09-_.é\u3042\U0001f600", k=4)) for _ in range(300)}
    write_table(tmp_path / "text", dict.fromkeys(keys, "w"))
    subprocess.run(["sort", "-c", "-u", tmp_path / "text"], env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"}, check=True)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("a x\nb y\na z\n", "text:3: a occurs twice (first in line 1)"),
        ("b x\na y\n", "text:2: a is out of order after b (use LC_ALL=C sort)"),
        ("a x\nb\n", "text:2: b has no value (an empty transcript)"),
        ("a x\nb  \n", "text:2: b has no value (an empty transcript)"),
        ("a x\n\nb y\n", "text:2: is an empty line"),
        ("", "text: is empty"),
        (b"a x\nb \xff\n", "text:2: is not UTF-8 (iconv -f WINDOWS-1252 -t UTF-8 FILE >NEW, if that is what it is)"),
        ("a x\n".encode("utf-16"), "text:1: is not UTF-8 (iconv -f UTF-16 -t UTF-8 FILE >NEW, if that is what it is)"),
    ],
)
def test_faulty_table(tmp_path, content, fault):
    path = tmp_path / "text"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert parse_table(path).faults == [f"{tmp_path}/{fault}"]
    with pytest.raises(InputError) as caught:
        read_table(path)
    assert str(caught.value) == f"{tmp_path}/{fault}"


def test_missing_table(tmp_path):
    with pytest.raises(InputError, match="text: cannot be read: No such file"):
        read_table(tmp_path / "text")


@pytest.mark.parametrize(
    "content",
    [b"a\tTHE BIRD\nb \t IS\tEARLY\n", b"\xef\xbb\xbfa THE BIRD\nb IS EARLY", b"a THE BIRD \r\nb IS EARLY\r\n"],
    ids=["tabs", "byte order mark", "CRLF"],
)
def test_text_of_other_systems(tmp_path, content):
    (tmp_path / "text").write_bytes(content)
    assert read_table(tmp_path / "text") == {"a": "THE BIRD", "b": "IS EARLY"}


def test_what_scoring_does_not_mind(tmp_path):
    (tmp_path / "text").write_text("b HELLO  THERE \na\n")
    assert read_table(tmp_path / "text", ordered=False, empty_values=True) == {"b": "HELLO  THERE", "a": ""}
    with pytest.raises(InputError, match=r"text:2: a has no value \(an empty transcript\) \(and 1 more faults"):
        load_table(tmp_path / "text")


def test_lines(tmp_path):
    (tmp_path / "plain").write_bytes("one\u2028still one\r\n\n two \x0c".encode())
    assert read_lines(tmp_path / "plain") == ["one\u2028still one", "", " two \x0c"]


def test_any_object_of_a_json_file(tmp_path):
    (tmp_path / "one.json").write_text('{"kind": "fbank", "mels": [80, 1.5]}')
    assert read_json(tmp_path / "one.json") == {"kind": "fbank", "mels": [80, 1.5]}
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(InputError, match=r"list\.json: is not JSON \(not an object\)"):
        read_json(tmp_path / "list.json")


def test_a_key_of_json_that_is_there_twice_is_named(tmp_path):
    (tmp_path / "a.json").write_text('{"a": 1,\n "b": {"c": 1, "c": 2}}')
    with pytest.raises(InputError, match=r"a\.json: is not JSON \(the key c is there twice\)"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n{"a": 1, "a": 2}\n')
    with pytest.raises(InputError, match=r"a\.jsonl:2: .*the key a is there twice"):
        list(read_jsonl(tmp_path / "a.jsonl", dict, "numbers"))
