"""Files are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dualtk.errors import InputError
from dualtk.files import (
    Done,
    FolderKind,
    atomic_folder,
    atomic_path,
    digest,
    remove_leftovers,
    write_text,
)
from dualtk.owner import is_dead, own_tag
from dualtk.tensors import write_safetensors
from dualtk.train.checkpoint import save_training


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


NOTES = FolderKind("folder of notes", "mark", frozenset({"mark", "one", "two"}))


def write_notes(folder: Path, *names: str) -> None:
    with atomic_folder(folder, NOTES) as temporary:
        temporary.mkdir()
        for name in names:
            (temporary / name).write_text(name)


def test_a_folder_replaces_a_folder_of_its_kind(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for content in ("one", "two"):
        write_notes(tmp_path / "folder", "mark", content)
    assert {path.name for path in (tmp_path / "folder").iterdir()} == {"mark", "two"}
    (tmp_path / "link").symlink_to("folder")
    write_notes(tmp_path / "link", "mark", "one")
    assert (tmp_path / "link").is_symlink()
    assert {path.name for path in (tmp_path / "folder").iterdir()} == {"mark", "one"}
    assert {path.name for path in tmp_path.iterdir()} == {"folder", "link"}


@pytest.mark.parametrize(
    ("files", "line"),
    [
        (["precious"], "out: exists and is no folder of notes"),
        (["one", "two"], "out: exists and is no folder of notes"),
        (["mark", "one", "my.txt"], "out: is to be replaced, but my.txt in it was not written by dualtk"),
        ([".git/config"], "out: exists and is no folder of notes"),
    ],
)
def test_what_somebody_else_wrote_is_refused_by_name(tmp_path: Path, files: list[str], line: str) -> None:
    for name in files:
        path = tmp_path / "out" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("precious")
    with pytest.raises(InputError, match=line):
        write_notes(tmp_path / "out", "mark")
    assert [(tmp_path / "out" / name).read_text() for name in files] == ["precious"] * len(files)


def test_only_a_regular_file_is_replaced(tmp_path: Path) -> None:
    """Devices, pipes, sockets, links and folders are refused, and are there afterwards."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "target").write_text("precious")
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "nowhere").symlink_to("missing")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "socket"))
    before = {path: path.lstat() for path in tmp_path.iterdir()}
    for path in [*before, Path("/dev/null"), Path("/dev/stdout")]:
        if path.name == "target":
            continue
        with pytest.raises(InputError, match=rf"{path.name}: exists and is "):
            write_text(path, "lost")
    for name in ("target", "pipe", "socket", "link"):
        with pytest.raises(InputError, match=f"{name}: exists and is no folder of notes"):
            write_notes(tmp_path / name, "mark")
    assert {path: path.lstat() for path in tmp_path.iterdir()} == before
    assert (tmp_path / "target").read_text() == "precious"
    assert Path("/dev/null").is_char_device()
    server.close()


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "text", "one")
        write_safetensors(tmp_path / "network", {"weight": torch.zeros(2)})
        save_training(tmp_path / "state", {"weight": torch.zeros(2)})
    finally:
        os.umask(before)
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()} == {
        "text": "0o640",
        "network": "0o640",
        "state": "0o640",
    }


def leave_part(path: Path) -> None:
    """What a process leaves that was killed while it wrote `path`."""
    code = f"""
import os
from pathlib import Path
from dualtk.files import atomic_path
with atomic_path(Path({str(path)!r})) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert list(path.parent.glob(f".{path.name}.*.part"))


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    """Living may be one of another machine or container too, whatever its number."""
    leave_part(tmp_path / "text")
    (dead,) = tmp_path.iterdir()
    machine, namespace, process, start = dead.name.removeprefix(".text.").removesuffix(".part").rsplit("-", 3)
    tags = [own_tag(), f"other-{namespace}-{process}-{start}", f"{machine}-1-{process}-{start}", "1", ""]
    living = [tmp_path / f".text.{tag}.part" for tag in tags]
    for path in living:
        path.write_text("being written")
    write_text(tmp_path / "other", "new")
    assert dead.exists()
    living.remove(tmp_path / f".text.{own_tag()}.part")  # this process writes that one now
    write_text(tmp_path / "text", "new")
    assert set(tmp_path.iterdir()) == {*living, tmp_path / "text", tmp_path / "other"}
    remove_leftovers(tmp_path)
    assert set(tmp_path.iterdir()) == {tmp_path / "text", tmp_path / "other"}


def test_a_number_that_another_process_has_now_is_not_its_owner() -> None:
    machine, namespace, _, start = own_tag().rsplit("-", 3)
    assert not is_dead(own_tag())
    assert is_dead(f"{machine}-{namespace}-{os.getpid()}-{int(start) + 1}")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        assert is_dead(f"{machine}-{namespace}-{other.pid}-{start}")


def test_a_folder_comes_back_whose_replacement_was_killed(tmp_path: Path) -> None:
    write_notes(tmp_path / "folder", "mark", "one")
    code = f"""
import os
from pathlib import Path
from dualtk import files
replace, count = os.rename, []
def killed(*arguments):
    replace(*arguments)
    os.kill(os.getpid(), 9)
os.rename = killed
kind = files.FolderKind("folder of notes", "mark", frozenset({{"mark", "one"}}))
with files.atomic_folder(Path({str(tmp_path / "folder")!r}), kind) as temporary:
    temporary.mkdir()
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert not (tmp_path / "folder").exists()
    with pytest.raises(KeyError), atomic_folder(tmp_path / "folder", NOTES):
        raise KeyError
    assert {path.name for path in (tmp_path / "folder").iterdir()} == {"mark", "one"}
    assert len(list(tmp_path.iterdir())) == 1


def test_a_long_name_is_written_too(tmp_path: Path) -> None:
    name = "ä" * 120
    write_text(tmp_path / name, "text")
    assert [path.name for path in tmp_path.iterdir()] == [name]


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


def test_a_stage_begins_only_in_a_folder_of_its_own(tmp_path: Path) -> None:
    mine, own = tmp_path / "mine", Done(tmp_path / "own/.done")
    mine.mkdir()
    (mine / "wav.scp").write_text("precious")
    with pytest.raises(InputError, match="mine: exists and is no set"):
        Done(mine / ".done").begin("set")
    assert [path.name for path in mine.iterdir()] == ["wav.scp"]
    own.begin("set")  # and is killed
    (tmp_path / "own/text").write_text("half")
    own.begin("set")
    assert not own.matches("key")
