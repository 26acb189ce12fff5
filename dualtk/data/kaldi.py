"""Kaldi data directories: tables of `key value` lines in the order of `LC_ALL=C sort`, read strictly, written whole.

A directory holds wav.scp, text, utt2spk, spk2utt, utt2dur, optionally segments, and after feature extraction
utt2num_frames and feats.scp (https://kaldi-asr.org/doc/data_prep.html).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dualtk.errors import InputError
from dualtk.files import write_text


@dataclass
class Table:
    """One parsed table: its entries, the line of each, and what is wrong with it (each fault names file and line)."""

    path: Path
    entries: dict[str, str] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def where(self, key: str) -> str:
        """`file:line` of an entry, as editors understand it."""
        return f"{self.path}:{self.lines[key]}" if key in self.lines else str(self.path)


def parse_table(path: Path, ordered: bool = True) -> Table:
    """Parse a table and collect every fault: empty lines, keys without value, duplicates, encoding, if asked order."""
    table = Table(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        table.faults.append(f"{path}: cannot be read: {error.strerror}")
        return table
    try:
        lines = content.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        line_number = content.count(b"\n", 0, error.start) + 1
        table.faults.append(f"{path}:{line_number}: is not UTF-8")
        return table
    if lines[-1] == "":
        lines.pop()
    if not lines:
        table.faults.append(f"{path}: is empty")
    previous = ""
    for number, line in enumerate(lines, start=1):
        key, _, value = line.strip().replace("\t", " ").partition(" ")
        if not key:
            table.faults.append(f"{path}:{number}: is an empty line")
            continue
        if key in table.entries:
            table.faults.append(f"{path}:{number}: {key} occurs twice (first in line {table.lines[key]})")
            continue
        if not value.strip():
            table.faults.append(f"{path}:{number}: {key} has no value{_hint(path)}")
        if ordered and key < previous:  # code points sort as their UTF-8 bytes do, which is LC_ALL=C
            table.faults.append(f"{path}:{number}: {key} is out of order after {previous} (use LC_ALL=C sort)")
        previous = key
        table.entries[key] = value.strip()
        table.lines[key] = number
    return table


def _hint(path: Path) -> str:
    return " (an empty transcript)" if path.name.endswith(("text", ".trans.txt")) else ""


def load_table(path: Path, ordered: bool = True) -> Table:
    """Parse a table and refuse it at its first fault."""
    table = parse_table(path, ordered)
    if table.faults:
        more = f" (and {len(table.faults) - 1} more faults: dualtk validate)" if len(table.faults) > 1 else ""
        raise InputError(table.faults[0] + more)
    return table


def read_table(path: Path) -> dict[str, str]:
    """The entries of a table in file order; InputError names the first faulty line."""
    return load_table(path).entries


def write_table(path: Path, entries: Mapping[str, object]) -> None:
    """Write `key value` lines in the order of `LC_ALL=C sort`, whole or not at all."""
    write_text(path, "".join(f"{key} {entries[key]}\n" for key in sorted(entries)))


def locate(value: str, directory: Path) -> Path | None:
    """The file that a path in a table means, or None.

    It is looked for as written (from the current folder, as in Kaldi), then from the data directory. A directory that
    was moved as a whole still finds the files inside it by their names.
    """
    path = Path(value)
    for candidate in (path, directory / path, directory / path.name):
        if candidate.is_file():
            return candidate
    return None


@dataclass(frozen=True)
class AudioSource:
    """Where the samples of an utterance are: a file, or its part from `start` to `end` in seconds (None: the end)."""

    path: Path
    start: float = 0.0
    end: float | None = None


def audio_sources(directory: Path) -> tuple[dict[str, AudioSource], list[str]]:
    """Every utterance's audio by wav.scp and segments, and the faults met: pipes, missing files, bad times."""
    wavs = parse_table(directory / "wav.scp")
    faults = list(wavs.faults)
    files: dict[str, Path] = {}
    for key, value in wavs.entries.items():
        if "|" in (value[:1], value[-1:]):
            faults.append(f"{wavs.where(key)}: {key} is a pipe, and pipes are not run: write its audio to a file first")
            continue
        path = locate(value, directory)
        if path is None:
            faults.append(f"{wavs.where(key)}: {key}: no audio file {value}")
            continue
        files[key] = path
    if not (directory / "segments").exists():
        return {key: AudioSource(path) for key, path in files.items()}, faults
    segments = parse_table(directory / "segments")
    faults += segments.faults
    sources: dict[str, AudioSource] = {}
    for key, value in segments.entries.items():
        recording, start, end = _parse_segment(value)
        if recording not in wavs.entries or not 0.0 <= start < end:
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
