"""What a run was made from: where it goes on, where it is refused because something changed or does not fit."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import kaldiio
import numpy as np
import pytest
from stopping import stopped_after
from tiny import train_arguments

from dualtk.bin.train import main
from dualtk.data.fbank import FbankOptions
from dualtk.data.kinds import write_options
from dualtk.errors import InputError


def shift(directory: Path, by: float) -> None:
    """Other features of the same names and lengths."""
    before = kaldiio.load_scp(f"{directory}/feats.scp").items()
    feats = {name: np.array(matrix) + np.float32(by) for name, matrix in before}
    kaldiio.save_ark(str(directory / "feats.ark"), feats, scp=str(directory / "feats.scp"))


@pytest.fixture
def own(corpus: Path, tmp_path: Path) -> Path:
    """A copy of the corpus that a test may change."""
    shutil.copytree(corpus, tmp_path / "own")
    name_archives(tmp_path / "own", corpus)
    return tmp_path / "own"


def name_archives(corpus: Path, before: Path) -> None:
    """Name the archives of a corpus that was copied or moved from `before`, as stage 1 does."""
    for name in ("train", "dev"):
        scp = corpus / name / "feats.scp"
        scp.write_text(scp.read_text().replace(str(before), str(corpus)))


def change_word(path: Path) -> None:
    first, *rest = path.read_text().splitlines(keepends=True)
    path.write_text("".join([f"{first.split()[0]} HOTEL GOLF HOTEL\n", *rest]))


CHANGES: dict[str, Callable[[Path], None]] = {
    "training features": lambda corpus: shift(corpus / "train", 0.5),
    "dev features": lambda corpus: shift(corpus / "dev", 0.5),
    "text": lambda corpus: change_word(corpus / "train/text"),
    "dev text": lambda corpus: change_word(corpus / "dev/text"),
    "cmvn": lambda corpus: shutil.copy(corpus / "dev/cmvn.ark", corpus / "train/cmvn.ark") and None,
}


@pytest.mark.slow
def test_what_a_run_goes_on_with_and_what_it_does_not(own: Path, tmp_path: Path) -> None:
    """A table: each row changes one thing in a copy of the corpus, and the run says which; places do not count."""
    with stopped_after(2):
        main(train_arguments(own, tmp_path / "exp", "batches.cache=false"))
    for name, change in CHANGES.items():
        other = tmp_path / name
        shutil.copytree(own, other)
        name_archives(other, own)
        change(other)
        with pytest.raises(InputError, match=rf"exp: {name} changed since this run began"):
            main(train_arguments(other, tmp_path / "exp", "batches.cache=false"))
    shutil.move(own, tmp_path / "moved")
    shutil.move(tmp_path / "exp", tmp_path / "another exp")
    name_archives(tmp_path / "moved", own)
    assert main(train_arguments(tmp_path / "moved", tmp_path / "another exp", "batches.cache=false")) == 0


def test_dev_features_that_do_not_fit(own: Path, tmp_path: Path) -> None:
    exp = tmp_path / "exp"
    write_options(own / "dev", FbankOptions(num_mels=16, low_frequency=60.0))
    with pytest.raises(InputError, match=r"dev/fbank.json: low_frequency of the features is 60.0, .* 20.0"):
        main(train_arguments(own, exp))
    (own / "dev/fbank.json").unlink()
    shift(own / "dev", 20.8)
    with pytest.raises(InputError, match=r"dev/feats.scp: the mean of its features is 20.8, .*cmvn.ark"):
        main(train_arguments(own, exp))
    assert not (exp / "config.yaml").exists()


@pytest.mark.slow
def test_a_network_of_other_features_is_nothing_to_begin_with(own: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(train_arguments(own, first, "train.max_steps=4")) == 0
    begun, line = f"init.exp={first}", r"init.exp: .*first/config.yaml: low_frequency of the features is 20.0, .* 60.0"
    other = ["features.low_frequency=60.0", begun]
    with pytest.raises(InputError, match=line):
        main(train_arguments(own, second, *other))
    assert not second.exists()
    for name in ("train", "dev"):
        shift(own / name, 20.8)
    stats = kaldiio.load_mat(str(own / "train/cmvn.ark")).copy()
    count = stats[0, -1]
    mean = stats[0, :-1] / count
    stats[1, :-1] += count * ((mean + 20.8) ** 2 - mean**2)
    stats[0, :-1] += 20.8 * count
    kaldiio.save_mat(str(own / "train/cmvn.ark"), stats)
    with pytest.raises(InputError, match=r"init.exp: .*first: the mean of its features is .*: one of them was made of"):
        main(train_arguments(own, second, begun))
