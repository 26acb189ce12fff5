"""Corpora in LibriSpeech's layout (Panayotov et al., 2015).

<root>/<set>/<speaker>/<chapter>/ holds <speaker>-<chapter>-<number>.flac files and their *.trans.txt.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from dualtk.ctm import select_ctm
from dualtk.data.audio import read_header
from dualtk.data.kaldi import Utterance, write_data_directory
from dualtk.errors import InputError
from dualtk.files import Done, digest, write_text
from dualtk.tables import load_table

AUDIO_SUFFIXES = (".flac", ".wav")


def find_set(root: Path, name: str) -> Path:
    """The folder of a set, `root`/name or `root`/LibriSpeech/name."""
    for folder in (root / name, root / "LibriSpeech" / name):
        if folder.is_dir():
            return folder
    raise InputError(f"{root}: holds no set {name} (looked for {name} and LibriSpeech/{name})")


def _files(folder: Path, *endings: str) -> list[Path]:
    """Files of the chapters of a set; hidden ones (macOS leaves ._NAME beside NAME) are no part of it."""
    paths = (path for path in folder.glob("*/*/*") if path.name.endswith(endings))
    return sorted(path for path in paths if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def _audio_files(folder: Path) -> dict[str, Path]:
    """Every audio file of a set by its utterance id."""
    found: dict[str, Path] = {}
    for path in _files(folder, *AUDIO_SUFFIXES):
        if path.stem in found:
            raise InputError(f"{path}: utterance {path.stem} occurs twice (also {found[path.stem]})")
        found[path.stem] = path
    return found


def _transcripts(folder: Path) -> list[Path]:
    return _files(folder, ".trans.txt")


def read_set(folder: Path) -> list[Utterance]:
    """Every utterance of a set; ids are speaker-chapter-number, durations come from the headers.

    Raises:
        InputError: audio without transcript or the reverse, an empty transcript, an id twice or not of its folder, or
            audio that is no mono speech.
    """
    audio = _audio_files(folder)
    transcripts = _transcripts(folder)
    if not audio or not transcripts:
        raise InputError(f"{folder}: has no <speaker>/<chapter>/ with audio and *.trans.txt")
    utterances: list[Utterance] = []
    for path in transcripts:
        table = load_table(path, ordered=False)
        chapter, speaker = path.parent.name, path.parent.parent.name
        for name, text in table.entries.items():
            if not name.startswith(f"{speaker}-{chapter}-"):
                raise InputError(f"{table.where(name)}: utterance {name} is not of {speaker}/{chapter}")
            file = audio.pop(name, None)
            if file is None:
                raise InputError(f"{table.where(name)}: utterance {name} has no audio file (or two transcripts)")
            duration = read_header(file).duration
            utterances.append(Utterance(name, speaker, os.path.abspath(file), " ".join(text.split()), duration))
    for name, file in audio.items():
        raise InputError(f"{file}: utterance {name} has no transcript")
    return utterances


def prepare(root: Path, sets: Sequence[str], directory: Path, ctms: Sequence[Path] = ()) -> bool:
    """Write one data directory from one or several sets; word times are taken from `ctms` and <root>/<set>.ctm.

    Returns:
        False if the directory was there already, made from the same files.

    Raises:
        InputError: a set that is not there, or whatever `read_set` refuses.
    """
    folders = [find_set(root, name) for name in sets]
    beside = [path for folder in folders for path in [folder.with_name(f"{folder.name}.ctm")] if path.is_file()]
    all_ctms = [*ctms, *beside]
    for path in ctms:
        if not path.is_file():
            raise InputError(f"{path}: no such file of word times")
    audio = [path for folder in folders for path in _audio_files(folder).values()]
    states = [[os.path.abspath(path), path.stat().st_size, path.stat().st_mtime_ns] for path in audio]
    key = digest([*(path for folder in folders for path in _transcripts(folder)), *all_ctms], states)
    done = Done(directory / ".prepare.done")
    if done.matches(key) and (directory / "wav.scp").exists() and (directory / "text").exists():
        return False
    done.begin("data directory of prepare-librispeech")
    utterances = [utterance for folder in folders for utterance in read_set(folder)]
    write_data_directory(directory, utterances)
    word_times = select_ctm(all_ctms, (utterance.name for utterance in utterances))
    (directory / "words.ctm").unlink(missing_ok=True)
    if word_times:
        write_text(directory / "words.ctm", word_times)
    done.write(key)
    return True
