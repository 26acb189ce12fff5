"""Files that a command wrote into a user's folder, and those that it did not write."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dualtk.errors import InputError
from dualtk.written import FILE, Written


def test_own_files_are_replaced_and_others_are_not(tmp_path: Path) -> None:
    (tmp_path / "talk.txt").write_text("mine\n")
    written = Written(tmp_path)
    with pytest.raises(InputError, match=r"talk\.txt: exists, and was not written by this command"):
        written.write("talk.txt", "theirs\n")
    for text in ("one\n", "two\n", "one\n"):
        Written(tmp_path).write("a b.txt", text)
    assert (tmp_path / "a b.txt").read_text() == "one\n"
    assert (tmp_path / "talk.txt").read_text() == "mine\n"


def test_what_was_changed_since_stays(tmp_path: Path) -> None:
    Written(tmp_path).write("talk.srt", "as heard\n")
    (tmp_path / "talk.srt").write_text("as corrected\n")
    with pytest.raises(InputError, match="or was changed since"):
        Written(tmp_path).require_own("talk.srt")


def test_a_link_or_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "linked.txt").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "folder.txt").mkdir()
    for name in ("linked.txt", "folder.txt"):
        with pytest.raises(InputError, match="choose another output"):
            Written(tmp_path).write(name, "text")


def test_the_list_is_one_that_sha256sum_reads(tmp_path: Path) -> None:
    for name in ("a.txt", "a b.json"):
        Written(tmp_path).write(name, name)
    subprocess.run(["sha256sum", "--check", "--strict", FILE], cwd=tmp_path, check=True, capture_output=True)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"no list\n", b"0  \n"])
def test_a_list_that_is_damaged_allows_nothing(tmp_path: Path, content: bytes) -> None:
    Written(tmp_path).write("a.txt", "text")
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(InputError, match=r"a\.txt: exists"):
        Written(tmp_path).require_own("a.txt")
