"""Utterances as columns are those that are read as objects."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import write_set

from dualtk.data import columns
from dualtk.data.columns import Wanted, keep, kept, lengths
from dualtk.data.dataset import FeatureDataset
from dualtk.errors import InputError


def encode(words: str) -> list[int]:
    return [len(word) for word in words.split()]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write_set(tmp_path / "set", 30, seed=1)
    return tmp_path / "set"


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def said(action: Callable[[], object]) -> str:
    """What is refused, if anything."""
    try:
        action()
    except InputError as error:
        return str(error)
    return ""


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


@pytest.mark.parametrize("case", ["plain", "no targets", "long", "empty", "sums", "rows"])
def test_columns_hold_what_objects_hold(directory: Path, tmp_path: Path, case: str) -> None:
    name, words = lines(directory / "text")[4].split(" ", 1)
    if case == "empty":
        edit(directory / "text", f"{name} {words}\n", f"{name}\n")
    if case == "sums":
        names = [line.split()[0] for line in lines(directory / "text")]
        (directory / "utt2crc").write_text("".join(f"{one} {index:08x}\n" for index, one in enumerate(names[:20])))
    if case == "rows":
        first = lines(directory / "feats.scp")[0]
        frames = lines(directory / "utt2num_frames")[0]
        edit(directory / "feats.scp", first, f"{first}[0:9]")
        edit(directory / "utt2num_frames", frames, frames.split()[0] + " 10")
    longest = 40 if case == "long" else None
    wanted = Wanted(directory, None if case == "no targets" else encode, 4, longest)
    expected = wanted.select()
    keep(tmp_path / "list", wanted, None)
    found = pickle.loads(pickle.dumps(kept(tmp_path / "list", directory)))
    assert [(one.name, one.location, one.num_frames, one.targets) for one in found.entries] == [
        (one.name, one.location, one.num_frames, one.targets) for one in expected.entries
    ]
    assert found.dropped == expected.dropped
    assert len(found.dropped) == {"long": len(found.dropped), "empty": 1}.get(case, 0)
    assert lengths(directory).tolist() == [one.num_frames for one in Wanted(directory, None, 4).select().entries]
    if case == "sums":
        assert found.sums is not None
        assert (found.sums[:3].tolist(), found.sums[-1]) == ([0, 1, 2], -1)
        return
    one, other = FeatureDataset(found), FeatureDataset(expected)
    assert one.lengths.tolist() == other.lengths.tolist()
    assert all((one[index].feats == other[index].feats).all() for index in range(len(other)))


@pytest.mark.parametrize("table", ["feats.scp", "utt2num_frames", "text"])
@pytest.mark.parametrize("fault", ["order", "missing", "short"])
def test_faults_are_those_of_objects(directory: Path, tmp_path: Path, table: str, fault: str) -> None:
    path, wanted = directory / table, Wanted(directory, encode, 4)
    rows = lines(path)
    if fault == "order":
        rows[3], rows[4] = rows[4], rows[3]
    elif fault == "missing":
        del rows[5]
    else:
        rows[5] = rows[5].split()[0] + (" 2" if table == "utt2num_frames" else "")
    path.write_text("\n".join(rows) + "\n")
    expected = said(wanted.select)
    assert said(lambda: keep(tmp_path / "list", wanted, None)) == expected
    assert (tmp_path / "list").exists() == (not expected)
    if not expected:
        assert len(kept(tmp_path / "list", directory).entries) == len(wanted.select().entries)


def test_they_are_written_anew_only_where_something_changed(directory: Path, tmp_path: Path) -> None:
    wanted, mark = Wanted(directory, encode, 4), tmp_path / "list" / columns.MARK
    keep(tmp_path / "list", wanted, None)
    before = mark.stat().st_ino
    keep(tmp_path / "list", wanted, None)
    assert mark.stat().st_ino == before
    os.utime(directory / "text", (1, 1))
    keep(tmp_path / "list", wanted, None)
    assert mark.stat().st_ino != before
