"""What `dualtk ablate` reads beside its suite: is it all there, before the first run?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dualtk.data.kaldi import set_name
from dualtk.errors import InputError

TIMES = ("words.ctm", "wav.scp")  # either tells the end of speech


def check_directories(train: Path, dev: Path, tests: Sequence[Path], tokens: Path, times: bool) -> None:
    """Whether the directories have the files that training, decoding and scoring read.

    Args:
        train, dev, tests: data directories.
        tokens: folder of tokens.
        times: whether latency is measured, which needs the end of speech.

    Raises:
        InputError: a directory or a file that is not there, led by the option; or two test sets of one name, whose
            decoded sets would share a folder.
    """
    features = ("feats.scp", "utt2num_frames", "text")
    is_audio = (train / "wav.scp").is_file() and not (train / "feats.scp").is_file()  # with features.source audio
    _require("--train-dir", train, *(features[1:] if is_audio else features), "cmvn.ark")
    _require("--dev-dir", dev, *features)
    _require("--tokens", tokens, "bpe.model")
    named: dict[str, Path] = {}
    for data in tests:
        _require("--test-dirs", data, *features, "utt2spk")
        if times and not any((data / name).is_file() for name in TIMES):
            raise InputError(f"--test-dirs: {data}: has neither {' nor '.join(TIMES)}, so no end of speech is known")
        name = set_name(data)
        if name in named:
            raise InputError(f"--test-dirs: {named[name]} and {data} have one name, and would share decoded sets")
        named[name] = data


def _require(option: str, directory: Path, *files: str) -> None:
    if not directory.is_dir():
        raise InputError(f"{option}: {directory}: no such directory")
    for name in files:
        if not (directory / name).is_file():
            raise InputError(f"{option}: {directory / name}: no such file")
