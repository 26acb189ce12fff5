"""Archives against kaldiio's own reader and writer, and what must never be read."""

from __future__ import annotations

import pickle
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import torch

from dualtk.data.arks import read_cmvn, read_matrix, read_shape, write_cmvn, write_entry
from dualtk.errors import InputError


@pytest.fixture
def matrices():
    random = np.random.default_rng(0)
    return {f"u{index}": random.standard_normal((index + 3, 5)).astype(np.float32) for index in range(4)}


def test_kaldiio_reads_ours(tmp_path, matrices):
    with (tmp_path / "feats.1.ark").open("wb") as stream:
        offsets = {key: write_entry(stream, key, matrix) for key, matrix in matrices.items()}
    for key, matrix in kaldiio.load_ark(str(tmp_path / "feats.1.ark")):
        np.testing.assert_array_equal(matrix, matrices[key])
    for key, offset in offsets.items():
        np.testing.assert_array_equal(kaldiio.load_mat(f"{tmp_path}/feats.1.ark:{offset}"), matrices[key])


@pytest.mark.parametrize("compression", [None, 1, 2, 3, 5])
def test_we_read_kaldiio(tmp_path, matrices, compression):
    scp = tmp_path / "feats.scp"
    kaldiio.save_ark(str(tmp_path / "a.ark"), matrices, scp=str(scp), compression_method=compression)
    for line in scp.read_text().splitlines():
        _key, location = line.split()
        expected = kaldiio.load_mat(location)
        np.testing.assert_array_equal(read_matrix(location, tmp_path), expected)
        assert read_shape(location, tmp_path) == expected.shape


def test_moved_directory(tmp_path, matrices, monkeypatch):
    """A directory that kept its name still has its archives; one of another name may have others of the same names."""
    monkeypatch.chdir(tmp_path)
    for name in ("moved/train", "moved/other"):
        (tmp_path / name).mkdir(parents=True)
        with (tmp_path / name / "feats.1.ark").open("wb") as stream:
            offset = write_entry(stream, "u1", matrices["u1"])
    place = f"data/train/feats.1.ark:{offset}"
    np.testing.assert_array_equal(read_matrix(place, tmp_path / "moved/train"), matrices["u1"])
    monkeypatch.chdir(tmp_path / "moved/train")
    np.testing.assert_array_equal(read_matrix(place, Path(".")), matrices["u1"])
    with pytest.raises(InputError, match=r"moved/other: no archive data/train/feats.1.ark"):
        read_matrix(place, tmp_path / "moved/other")


class Bomb:
    def __reduce__(self):
        return eval, ("open('pwned', 'w')",)


def test_nothing_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.ark").write_bytes(b"u PKL" + pickle.dumps(Bomb()))
    for location in ("a.ark:2", "touch pwned |", "| touch pwned"):
        for read in (read_matrix, read_shape):
            with pytest.raises(InputError, match=r"no Kaldi matrix there|pipes are not run"):
                read(location, tmp_path)
    assert not (tmp_path / "pwned").exists()


def test_truncated_and_missing(tmp_path, matrices):
    path = tmp_path / "a.ark"
    with path.open("wb") as stream:
        offset = write_entry(stream, "u", matrices["u3"])
    whole = path.read_bytes()
    for size in (len(whole) - 1, offset + 8, offset + 1, offset):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match=f"a.ark: byte {offset}: no Kaldi matrix there"):
            read_matrix(f"{path}:{offset}", tmp_path)
    with pytest.raises(InputError, match=r"no archive .*b\.ark"):
        read_matrix(f"{tmp_path}/b.ark:7", tmp_path)


def test_cmvn(tmp_path):
    frames = np.random.default_rng(0).normal(3.0, 2.0, (1000, 4))
    stats = np.zeros((2, 5))
    stats[0, :4], stats[1, :4], stats[0, 4] = frames.sum(0), (frames**2).sum(0), len(frames)
    write_cmvn(tmp_path / "cmvn.ark", stats)
    np.testing.assert_array_equal(kaldiio.load_mat(str(tmp_path / "cmvn.ark")), stats)
    kaldiio.save_ark(str(tmp_path / "keyed.ark"), {"global": stats})
    for name in ("cmvn.ark", "keyed.ark"):
        mean, istd = read_cmvn(tmp_path / name)
        torch.testing.assert_close(mean, torch.tensor(frames.mean(0)).float())
        torch.testing.assert_close(istd, torch.tensor(1 / frames.std(0)).float())


def test_bad_cmvn(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_cmvn(tmp_path / "cmvn.ark")
    (tmp_path / "cmvn.ark").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="holds no Kaldi matrix"):
        read_cmvn(tmp_path / "cmvn.ark")
    write_cmvn(tmp_path / "cmvn.ark", np.zeros((2, 5)))
    with pytest.raises(InputError, match="holds no CMVN statistics"):
        read_cmvn(tmp_path / "cmvn.ark")


def test_statistics_of_speakers_are_no_statistics_of_a_set(tmp_path):
    stats = np.array([[2.0, 4.0, 2.0], [4.0, 10.0, 0.0]])
    kaldiio.save_ark(str(tmp_path / "cmvn.ark"), {"spk1": stats, "spk2": stats * 2})
    with pytest.raises(InputError, match=r"cmvn\.ark: holds 2 entries, as of speakers; expected one of the whole set"):
        read_cmvn(tmp_path / "cmvn.ark")
    kaldiio.save_ark(str(tmp_path / "cmvn.ark"), {"global": stats})
    assert read_cmvn(tmp_path / "cmvn.ark")[0].tolist() == [1.0, 2.0]


def test_statistics_that_are_no_numbers(tmp_path):
    write_cmvn(tmp_path / "cmvn.ark", np.full((2, 5), np.nan))
    with pytest.raises(InputError, match="holds no CMVN statistics"):
        read_cmvn(tmp_path / "cmvn.ark")


@pytest.mark.parametrize(
    "header",
    [
        b"\0BFM \4" + b"\xff\xff\xff\x7f" + b"\4" + b"\xff\xff\xff\x7f",
        b"\0BDM \4" + b"\xfe\xff\xff\xff" + b"\4" + b"\2\0\0\0",
        b"\0BCM " + bytes(8) + b"\xff\xff\xff\x7f\xff\xff\xff\x7f",
        b"\0BCM2 " + bytes(8) + b"\0\0\0\1\0\0\0\1",
        b"\0BFV \4\2\0\0\0" + bytes(8),
        b"\0BXX " + bytes(30),
        b" [\n 1 2\n 3 4 ]\n",
    ],
)
def test_damaged_headers(tmp_path, header):
    """Sizes that no file has are not believed."""
    (tmp_path / "a.ark").write_bytes(b"u " + header + bytes(64))
    for read in (read_matrix, read_shape):
        with pytest.raises(InputError, match=r"a.ark: byte 2: no Kaldi matrix there"):
            read("a.ark:2", tmp_path)


def test_rows_of_a_matrix(tmp_path, matrices):
    """As utils/data/subsegment_data_dir.sh writes them; both ends belong to it."""
    with (tmp_path / "a.ark").open("wb") as stream:
        offset = write_entry(stream, "u", matrices["u3"])
    np.testing.assert_array_equal(read_matrix(f"a.ark:{offset}[1:3]", tmp_path), matrices["u3"][1:4])
    assert read_shape(f"a.ark:{offset}[1:3]", tmp_path) == (3, 5)
