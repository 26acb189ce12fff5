"""Outputs take the place of nothing but what their own stage wrote (kinds: a folder, a device, a name taken twice)."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from faults_world import MELS, write_corpus

pytestmark = pytest.mark.slow


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("target", ["exp", "corpus", "mine"])
def test_a_decoding_replaces_no_other_folder(made, target) -> None:
    (made.path / "mine").mkdir()
    (made.path / "mine/notes.txt").write_text("mine")
    before = tree(made.path / target)
    line = made.refused(*made.decode("--out", target))
    assert f"{target}: exists and" in line
    assert tree(made.path / target) == before


def test_a_decoding_with_a_stranger_in_it_is_not_replaced(made) -> None:
    assert made(*made.decode()).status == 0
    (made.path / "decoded/notes.txt").write_text("mine")
    (made.path / "made/corpus/text").write_text((made.path / "made/corpus/text").read_text().replace("ALPHA", "BRAVO"))
    made.refused(*made.decode("--beam", 2))
    assert (made.path / "decoded/notes.txt").read_text() == "mine"


@pytest.mark.parametrize("target", ["exp", "corpus", "mine", "mine/notes.txt"])
def test_tokens_replace_no_other_folder(world, target) -> None:
    (world.path / "mine").mkdir()
    (world.path / "mine/notes.txt").write_text("mine")
    before = tree(world.path)
    line = world.refused("tokens", "--text", "corpus/text", "--out", target, "--set", "tokens.size=20")
    assert target in line
    assert tree(world.path) == before


@pytest.mark.parametrize("target", ["exp", "mine"])
def test_a_packed_model_replaces_no_other_folder(world, target) -> None:
    (world.path / "mine").mkdir()
    (world.path / "mine/notes.txt").write_text("mine")
    before = tree(world.path)
    world.refused("pack", "exp", target)
    assert tree(world.path) == before


@pytest.mark.parametrize("kind", ["device", "pipe", "folder"])
def test_a_page_replaces_files_alone(made, kind) -> None:
    assert made(*made.decode("--out", "exp/decode/corpus-full")).status == 0
    assert made("score", "--data", "made/corpus", "--decode", "exp/decode/corpus-full").status == 0
    target = made.path / "target"
    if kind == "device":
        if os.geteuid() != 0:
            pytest.skip("only root makes devices")
        os.mknod(target, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    elif kind == "pipe":
        os.mkfifo(target)
    else:
        target.mkdir()
    was = stat.S_IFMT(target.stat().st_mode)
    made.refused("report", "exp", "--out", target)
    assert stat.S_IFMT(target.stat().st_mode) == was


@pytest.mark.parametrize("names", [("a/test", "b/test"), ("a/test", "b/test/"), ("a/test", "./b/../b/test")])
def test_sets_of_one_name_are_refused_before_anything_is_made(world, names) -> None:
    for folder in ("a/test", "b/test"):
        write_corpus(world.path / folder)
    line = world.refused("features", *MELS, "--out", "made", "--train", "corpus", *names)
    assert "test" in line
    assert not (world.path / "made/test").exists()


def test_features_are_not_written_into_the_users_directory(world) -> None:
    before = tree(world.path / "corpus")
    world.refused("features", *MELS, "--out", ".", "--train", "corpus")
    assert tree(world.path / "corpus") == before
    assert world.make_features("corpus/").status == 0
    assert tree(world.path / "corpus") == before
