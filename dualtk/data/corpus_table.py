"""A corpus that is listed in a spreadsheet, as a Kaldi data directory."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dualtk.data.audio import read_header
from dualtk.data.directories import SPEAKERS, DataDirectory
from dualtk.data.spreadsheet import Row, read_rows
from dualtk.data.transcripts import Normalisation
from dualtk.errors import InputError

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
    """A data directory, and the places of rows that were left out as they have no words."""

    directory: DataDirectory
    without_words: list[str]


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


def prepare_table(table: Path, columns: Columns, audio: Path | None, normalise: Normalisation) -> Prepared:
    """The utterances of a table.

    Args:
        table: see `read_rows`.
        columns: what is where.
        audio: the folder that paths of audio begin from, and no other; None: that of the table, or the current folder.
        normalise: what is done to transcripts.

    Raises:
        InputError: a column that is not there, audio that is not there or cannot be read, a number that is none, or two
            utterances of one name; names the line, and counts the others.
    """
    rows = read_rows(table)
    _require_columns(table, rows, columns)
    utterances: dict[str, _Utterance] = {}
    without_words, faults = [], []
    written: dict[str, str] = {}  # what the table has for a speaker, who may be written otherwise
    for row in rows:
        if not (text := normalise(row.values.get(columns.text, ""))):
            without_words.append(row.where)
            continue
        try:
            one = _utterance(row, columns, [audio] if audio else [table.parent, Path()], text)
            if columns.speaker is not None:
                said = row.values[columns.speaker].strip()
                if (other := written.setdefault(one.speaker, said)) != said:
                    both = f"the speakers {other!r} and {said!r}"
                    raise InputError(f"{row.where}: {both} would both be written as {one.speaker}")
        except InputError as error:
            faults.append(str(error))
            continue
        if one.name in utterances:
            faults.append(f"{row.where}: utterance {one.name} is in {utterances[one.name].where} too")
        utterances[one.name] = one
    if faults:
        more = f" (and {len(faults) - 1} more such lines)" if len(faults) > 1 else ""
        raise InputError(faults[0] + more)
    if not utterances:
        raise InputError(f"{table}: no row has words in its column {columns.text}")
    return Prepared(_directory(table, utterances, has_segments=columns.offset is not None), without_words)


def _require_columns(table: Path, rows: Sequence[Row], columns: Columns) -> None:
    there = list(dict.fromkeys(key for row in rows for key in row.values))
    for key, column in vars(columns).items():
        if column is not None and column not in there:
            raise InputError(
                f"{table}: has no column {column} (--{'id' if key == 'name' else key}); it has: {', '.join(there)}"
            )
    if columns.offset is not None and columns.duration is None:
        raise InputError("--offset: needs --duration too")


def _utterance(row: Row, columns: Columns, folders: Sequence[Path], text: str) -> _Utterance:
    value = _value(row, columns.audio)
    path = next((folder / value for folder in folders if os.path.isfile(folder / value)), None)
    if path is None:
        raise InputError(f"{row.where}: no audio file {value} in {folders[0]}, where paths begin (--audio-dir)")
    start = 0.0 if columns.offset is None else _seconds(row, columns.offset)
    if columns.duration is not None:
        duration = _seconds(row, columns.duration)
        if not 0.0 < duration <= LONGEST:
            raise InputError(f"{row.where}: {columns.duration} is {duration:g}, expected at most {LONGEST:g} seconds")
    else:
        try:
            duration = read_header(path).duration
        except InputError as error:
            raise InputError(f"{row.where}: {error}") from error
    recording = key_of(path.stem)
    base = recording if columns.name is None else key_of(_value(row, columns.name))
    if columns.offset is not None and columns.name is None:
        base = f"{recording}-{round(100 * start):07d}-{round(100 * (start + duration)):07d}"
    speaker = base if columns.speaker is None else key_of(_value(row, columns.speaker))
    name = base if base.startswith(speaker) else f"{speaker}-{base}"
    return _Utterance(row.where, name, speaker, text, recording, os.path.abspath(path), start, duration)


def key_of(value: str) -> str:
    """A value as Kaldi's tables and sclite's transcripts can have it: neither white space nor parentheses."""
    return re.sub(r"[\s()]+", "_", value.strip())


def _value(row: Row, column: str) -> str:
    value = row.values.get(column, "").strip()
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
        raise InputError(f"{row.where}: {column} is {value}, expected seconds")
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
