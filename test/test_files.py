"""Files are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dualtk.errors import InputError
from dualtk.files import Done, atomic_path, digest, write_text


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "text"
    write_text(path, "old")

    def fail() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_replaces_a_folder(tmp_path: Path) -> None:
    for content in ("one", "two"):
        with atomic_path(tmp_path / "folder") as temporary:
            temporary.mkdir()
            (temporary / content).write_text(content)
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["two"]


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    code = f"import os; open({str(tmp_path)!r} + f'/.text.{{os.getpid()}}.part', 'w'); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code], check=False)
    living = tmp_path / ".text.1.part"
    living.write_text("being written")
    assert len(list(tmp_path.iterdir())) == 2
    write_text(tmp_path / "text", "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".text.1.part", "text"]


def test_a_write_that_the_system_refuses_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match="half: cannot be written"), atomic_path(tmp_path / "half") as temporary:
        (temporary / "x").write_text("no such folder")
    with pytest.raises(InputError, match="missing: cannot be read"):
        digest([tmp_path / "missing"])


def test_done_follows_contents_and_options(tmp_path: Path) -> None:
    path, done = tmp_path / "input", Done(tmp_path / ".done")
    path.write_text("a")
    key = digest([path], {"option": 1})
    assert not done.matches(key)
    done.write(key)
    assert done.matches(digest([path], {"option": 1}))
    assert not done.matches(digest([path], {"option": 2}))
    path.write_text("b")
    assert not done.matches(digest([path], {"option": 1}))
    done.clear()
    assert not done.matches(key)
