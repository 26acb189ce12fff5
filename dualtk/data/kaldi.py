"""Kaldi data directories: where the audio of their utterances is, and writing one.

A directory holds wav.scp, text, utt2spk, spk2utt, utt2dur, optionally segments, and after feature extraction
utt2num_frames and feats.scp (https://kaldi-asr.org/doc/data_prep.html).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dualtk.errors import InputError
from dualtk.tables import Table, parse_table, write_table


def locate(value: str, directory: Path) -> Path | None:
    """The file that a path in a table means, or None.

    It is looked for as written (from the current folder, as in Kaldi), then from the data directory; never by its last
    part alone, by which other audio could be taken for it.
    """
    path = Path(value)
    for candidate in (path, directory / path):
        if candidate.is_file():
            return candidate
    return None


def set_name(directory: Path) -> str:
    """The name of a data directory, however its path is written, such as `.` or `a/../b/`."""
    return os.path.basename(os.path.abspath(directory))


@dataclass(frozen=True)
class AudioSource:
    """Where the samples of an utterance are: a file, or its part from `start` to `end` in seconds (None: the end)."""

    path: Path
    start: float = 0.0
    end: float | None = None


def list_utterances(directory: Path) -> Table:
    """The table whose keys are the utterances of a directory: segments, or else wav.scp, or else feats.scp."""
    if not (directory / "wav.scp").exists():
        return parse_table(directory / "feats.scp")
    return parse_table(directory / ("segments" if (directory / "segments").exists() else "wav.scp"))


def audio_files(directory: Path) -> tuple[Table, dict[str, Path]]:
    """wav.scp, with the faults met (pipes and missing files among them), and where the file of each key is."""
    wavs = parse_table(directory / "wav.scp")
    files: dict[str, Path] = {}
    for key, value in wavs.entries.items():
        if "|" in (value[:1], value[-1:]):
            fault = f"{key} is a pipe, and pipes are not run: write its audio to a file first"
            wavs.faults.append(f"{wavs.where(key)}: {fault}")
        elif (path := locate(value, directory)) is None:
            wavs.faults.append(f"{wavs.where(key)}: {key}: no audio file {value}")
        else:
            files[key] = path
    return wavs, files


def audio_sources(directory: Path) -> tuple[dict[str, AudioSource], list[str]]:
    """Every utterance's audio by wav.scp and segments, and the faults met: those of `audio_files`, and bad times."""
    wavs, files = audio_files(directory)
    faults = list(wavs.faults)
    if not (directory / "segments").exists():
        return {key: AudioSource(path) for key, path in files.items()}, faults
    segments = parse_table(directory / "segments")
    faults += segments.faults
    sources: dict[str, AudioSource] = {}
    for key, value in segments.entries.items():
        recording, start, end = _parse_segment(value)
        if recording not in wavs.entries or not 0.0 <= start < end < math.inf:
            faults.append(f"{segments.where(key)}: {key}: expected 'recording start end', not '{value}'")
        elif recording in files:  # otherwise the recording's own fault is listed
            sources[key] = AudioSource(files[recording], start, end)
    return sources, faults


def _parse_segment(value: str) -> tuple[str, float, float]:
    """Recording, start and end of a line of segments; times of a malformed line are not numbers."""
    try:
        recording, start, end = value.split()
        return recording, float(start), float(end)
    except ValueError:
        return "", math.nan, math.nan


def read_audio_sources(directory: Path) -> dict[str, AudioSource]:
    """Every utterance's audio; InputError names the first fault."""
    sources, faults = audio_sources(directory)
    if faults:
        raise InputError(faults[0])
    return sources


@dataclass(frozen=True)
class Utterance:
    """One line of each table of a data directory; `audio` is a path, `duration` in seconds."""

    name: str
    speaker: str
    audio: str
    text: str
    duration: float


def group_speakers(speakers: Mapping[str, str]) -> dict[str, str]:
    """spk2utt from utt2spk."""
    groups: dict[str, list[str]] = {}
    for utterance in sorted(speakers):
        groups.setdefault(speakers[utterance], []).append(utterance)
    return {speaker: " ".join(utterances) for speaker, utterances in groups.items()}


def write_data_directory(directory: Path, utterances: Iterable[Utterance]) -> None:
    """Write wav.scp, text, utt2spk, spk2utt and utt2dur of a directory; InputError for two utterances of one name."""
    found: dict[str, Utterance] = {}
    for utterance in utterances:
        if utterance.name in found:
            raise InputError(
                f"{directory}: utterance {utterance.name} occurs twice: "
                f"{found[utterance.name].audio} and {utterance.audio}"
            )
        found[utterance.name] = utterance
    if not found:
        raise InputError(f"{directory}: no utterances to write")
    speakers = {name: utterance.speaker for name, utterance in found.items()}
    write_table(directory / "wav.scp", {name: utterance.audio for name, utterance in found.items()})
    write_table(directory / "text", {name: utterance.text for name, utterance in found.items()})
    write_table(directory / "utt2spk", speakers)
    write_table(directory / "spk2utt", group_speakers(speakers))
    write_table(directory / "utt2dur", {name: f"{utterance.duration:.4f}" for name, utterance in found.items()})
