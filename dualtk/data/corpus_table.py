"""A corpus that is listed in a spreadsheet, as a Kaldi data directory."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from dualtk.data.audio import AudioHeader, check_segment, read_header
from dualtk.data.directories import CHANNELS, SPEAKERS, DataDirectory
from dualtk.data.kaldi import AudioSource
from dualtk.data.reading import Channels, Reading
from dualtk.data.spreadsheet import Row, read_rows
from dualtk.data.transcripts import Normalisation
from dualtk.errors import InputError

# What is added to a path that has no ending, as LJSpeech lists its files.
AUDIO_ENDINGS = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".sph", ".aiff", ".au", ".WAV", ".FLAC", ".MP3")
NAMED = 12  # columns that a message lists
LONGEST = 1e6  # seconds of an utterance: a longer one is milliseconds or samples


@dataclass(frozen=True)
class Columns:
    """Which columns hold what.

    Attributes:
        audio: path of an audio file.
        text: transcript.
        speaker: None: every utterance has a speaker of its own.
        name: of the utterance; None: that of its audio file.
        duration: in seconds; None: by the header of the audio file.
        offset: seconds of the file before the utterance, which needs `duration` too; None: it is the whole file.
    """

    audio: str
    text: str
    speaker: str | None = None
    name: str | None = None
    duration: str | None = None
    offset: str | None = None


@dataclass(frozen=True)
class Prepared:
    """A data directory, and the places of rows that were left out: without words, and those that say one again."""

    directory: DataDirectory
    without_words: list[str]
    repeated: list[str]


@dataclass(frozen=True)
class _Located:
    """A row whose audio is there."""

    row: Row
    audio: str
    text: str


@dataclass(frozen=True)
class _Utterance:
    where: str
    name: str
    speaker: str
    text: str
    recording: str
    audio: str
    start: float
    duration: float


def prepare_table(
    table: Path,
    columns: Columns,
    audio: Path | None,
    normalise: Normalisation,
    *,
    header: bool = True,
    channel: int | None = None,
) -> Prepared:
    """The utterances of a table.

    Args:
        table: see `read_rows`.
        columns: what is where.
        audio: the folder that paths of audio begin from, and no other; None: that of the table, the current folder, or
            the one above the table's. A path without an ending may mean the one file that has one.
        normalise: what is done to transcripts.
        header: see `read_rows`.
        channel: of recordings with several, from 0; None: such a recording is a fault.

    Raises:
        InputError: a column that is not there, audio that is not there or cannot be read, a number that is none, or two
            utterances of one name; names the line, and counts the others.
    """
    rows = read_rows(table, header=header)
    _require_columns(table, rows, columns)
    folders = [audio] if audio else [table.parent, Path(), table.parent.parent]
    located: list[_Located] = []
    without_words, repeated, faults = [], [], []
    for row in rows:
        try:
            if not (text := normalise(_cell(row, columns.text))):
                without_words.append(row.where)
                continue
            located.append(_Located(row, _locate(row, columns, folders), text))
        except InputError as error:
            faults.append(str(error))
    names = _recording_names([one.audio for one in located])
    utterances: dict[str, _Utterance] = {}
    speakers: dict[str, str] = {}  # as they are called, and as the table has them
    for place in located:
        try:
            one = _utterance(place, columns, names[place.audio], channel)
            if columns.speaker is not None:
                said = _value(place.row, columns.speaker)
                if (other := speakers.setdefault(one.speaker, said)) != said:
                    both = f"the speakers {other!r} and {said!r}"
                    raise InputError(f"{place.row.where}: {both} would both be written as {one.speaker}")
        except InputError as error:
            faults.append(str(error))
            continue
        former = utterances.setdefault(one.name, one)
        if former is not one and replace(former, where=one.where) == one:
            repeated.append(one.where)
        elif former is not one:
            kind = "with another transcript" if former.audio == one.audio else f"with other audio, {former.audio}"
            faults.append(f"{one.where}: utterance {one.name} is in {former.where} too, {kind}")
    if faults:
        more = f" (and {len(faults) - 1} more such lines)" if len(faults) > 1 else ""
        raise InputError(faults[0] + more)
    if not utterances:
        raise InputError(f"{table}: no row has words in its column {columns.text}")
    directory = _directory(table, utterances, has_segments=columns.offset is not None)
    if channel is not None:
        chosen = {key: f"{key} {channel + 1}" for key in directory.recordings["wav.scp"]}
        directory = replace(directory, recordings={**directory.recordings, CHANNELS: chosen})
    return Prepared(directory, without_words, repeated)


def _require_columns(table: Path, rows: Sequence[Row], columns: Columns) -> None:
    there = list(dict.fromkeys(key for row in rows for key in (*row.values, *row.unusable)))
    for key, column in vars(columns).items():
        if column is not None and column not in there:
            raise InputError(
                f"{table}: has no column {column} (--{'id' if key == 'name' else key}); it has: "
                f"{', '.join(there[:NAMED])}{', ...' if len(there) > NAMED else ''}"
            )
    if columns.offset is not None and columns.duration is None:
        raise InputError("--offset: needs --duration too")


def _locate(row: Row, columns: Columns, folders: Sequence[Path]) -> str:
    """The absolute path of a row's audio."""
    value = _value(row, columns.audio)
    written = [value, value.replace("\\", "/")] if "\\" in value else [value]
    for path in written:
        for place in folders:
            if os.path.isfile(place / path):
                return os.path.abspath(place / path)
    for place in folders:
        found = [place / (path + ending) for path in written for ending in AUDIO_ENDINGS]
        found = [path for path in found if os.path.isfile(path)]
        if len(found) > 1:
            raise InputError(f"{row.where}: {value} may be {found[0]} or {found[1]}; add the ending in the table")
        if found:
            return os.path.abspath(found[0])
    raise InputError(f"{row.where}: no audio file {value} in {folders[0]}, where paths begin (--audio-dir)")


def _recording_names(paths: Iterable[str]) -> dict[str, str]:
    """A name for each file: its own without the ending, after as many of its folders as make all of them differ."""
    found = [Path(path) for path in dict.fromkeys(paths)]
    for depth in range(max((len(path.parts) for path in found), default=0)):
        names = ["-".join(map(key_of, (*path.parts[1:-1][::-1][:depth][::-1], path.stem))) for path in found]
        if len(set(names)) == len(found):
            return dict(zip(map(str, found), names))
    return {str(path): key_of(path.stem) for path in found}  # a.wav beside a.flac: said where they are met


def _utterance(place: _Located, columns: Columns, recording: str, channel: int | None) -> _Utterance:
    row = place.row
    start = 0.0 if columns.offset is None else _seconds(row, columns.offset)
    if columns.duration is not None:
        duration = _seconds(row, columns.duration)
        if not 0.0 < duration <= LONGEST:
            raise InputError(f"{row.where}: {columns.duration} is {duration:g}, expected at most {LONGEST:g} seconds")
        if columns.offset is not None:
            _require_inside(row, place.audio, start, start + duration, channel)
    else:
        duration = _header(row, place.audio, channel).duration
    base = recording if columns.name is None else key_of(_value(row, columns.name))
    if columns.offset is not None and columns.name is None:
        base = f"{recording}-{round(100 * start):07d}-{round(100 * (start + duration)):07d}"
    speaker = base if columns.speaker is None else key_of(_value(row, columns.speaker))
    name = base if base.startswith(speaker) else f"{speaker}-{base}"
    return _Utterance(row.where, name, speaker, place.text, recording, place.audio, start, duration)


def _header(row: Row, audio: str, channel: int | None) -> AudioHeader:
    try:
        return _read_header(audio, channel)
    except InputError as error:
        raise InputError(f"{row.where}: {error}") from error


@lru_cache(maxsize=1 << 16)  # rows of one recording need not be beside each other
def _read_header(audio: str, channel: int | None) -> AudioHeader:
    steps = () if channel is None else (Channels((channel,), of_several=True),)
    return read_header(AudioSource(Path(audio), reading=Reading(steps=steps)))


def _require_inside(row: Row, audio: str, start: float, end: float, channel: int | None) -> None:
    """Refuse what stage 0 would find beyond the end of its recording."""
    try:
        check_segment(AudioSource(Path(audio), start=start, end=end), _header(row, audio, channel))
    except InputError as error:
        raise InputError(f"{row.where}: {str(error).removeprefix(f'{row.where}: ')}") from error


def key_of(value: str) -> str:
    """A value as Kaldi's tables and sclite's transcripts can have it: neither white space nor parentheses."""
    return re.sub(r"[\s()]+", "_", value.strip())


def _cell(row: Row, column: str) -> str:
    """Its text, perhaps none."""
    if column in row.unusable:
        raise InputError(f"{row.where}: {column} is {row.unusable[column]}, expected text")
    return row.values.get(column, "")


def _value(row: Row, column: str) -> str:
    value = _cell(row, column).strip()
    if not value:
        raise InputError(f"{row.where}: has no {column}")
    return value


def _seconds(row: Row, column: str) -> float:
    value = _value(row, column)
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0.0 <= seconds < float("inf"):
        raise InputError(f"{row.where}: {column} is {value}, expected seconds such as 7.25")
    return seconds


def _directory(table: Path, utterances: Mapping[str, _Utterance], *, has_segments: bool) -> DataDirectory:
    tables = {
        SPEAKERS: {name: one.speaker for name, one in utterances.items()},
        "text": {name: one.text for name, one in utterances.items()},
        "utt2dur": {name: f"{one.duration:.4f}" for name, one in utterances.items()},
    }
    wavs = {name: one.audio for name, one in utterances.items()}
    if has_segments:
        wavs = {}
        for one in utterances.values():
            if wavs.setdefault(one.recording, one.audio) != one.audio:
                raise InputError(f"{one.where}: {one.audio} and {wavs[one.recording]} have the same name")
        tables["segments"] = {
            name: f"{one.recording} {one.start:.4f} {one.start + one.duration:.4f}" for name, one in utterances.items()
        }
    return DataDirectory(str(table), tables, {"wav.scp": wavs})
