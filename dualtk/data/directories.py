"""Kaldi data directories as a whole: read, cut, put together, and written elsewhere; none is changed in place."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from dualtk.ctm import select_ctm
from dualtk.data.arks import find_archive, read_shape, write_cmvn
from dualtk.data.audio import read_header
from dualtk.data.kaldi import AudioSource, group_speakers, read_audio_sources, read_recordings
from dualtk.errors import InputError
from dualtk.files import FolderKind, atomic_folder
from dualtk.frames import FRAME_SECONDS
from dualtk.tables import Table, compare_keys, finite, load_table, table_text

SPEAKERS = "utt2spk"
TABLES = ("text", "segments", "utt2dur", "utt2num_frames", "feats.scp")  # beside utt2spk, by utterance
CHANNELS = "reco2file_and_channel"  # by recording, as wav.scp
FEATURES = "fbank.json"
WORDS = "words.ctm"
MADE = ".dualtk-data"  # in a directory that was written here, and may be again
FOLDER = FolderKind(
    "data directory of `dualtk data` or `dualtk prepare-table`",
    MADE,
    frozenset({SPEAKERS, "spk2utt", *TABLES, "wav.scp", CHANNELS, FEATURES, WORDS, "cmvn.ark", MADE}),
)


@dataclass(frozen=True)
class DataDirectory:
    """The tables of a data directory; files that they name are named by absolute paths.

    Attributes:
        source: where it was read, for messages.
        tables: utt2spk, and those of `TABLES` that there are.
        recordings: wav.scp and perhaps reco2file_and_channel, by recording.
        words: lines of words.ctm.
        features: the content of fbank.json; None where there is none.
        left_out: utterances that were left out for they have no words.
    """

    source: str
    tables: Mapping[str, Mapping[str, str]]
    recordings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    words: str = ""
    features: str | None = None
    left_out: int = 0

    @property
    def speakers(self) -> Mapping[str, str]:
        """utt2spk."""
        return self.tables[SPEAKERS]

    def select(self, names: Iterable[str]) -> DataDirectory:
        """The same with these utterances only.

        Raises:
            InputError: one that is not there, or none.
        """
        kept = set(names)
        if unknown := sorted(kept - self.speakers.keys()):
            raise InputError(f"{self.source}: has no utterance {unknown[0]}")
        if not kept:
            raise InputError(f"{self.source}: no utterance is left")
        tables = {
            file: {name: one for name, one in table.items() if name in kept} for file, table in self.tables.items()
        }
        segments = tables.get("segments")
        spoken = kept if segments is None else {value.split()[0] for value in segments.values()}
        recordings = {
            file: {key: value for key, value in table.items() if key in spoken}
            for file, table in self.recordings.items()
        }
        words = "".join(line for line in self.words.splitlines(keepends=True) if line.split()[0] in kept)
        return replace(self, tables=tables, recordings=recordings, words=words)

    def without_words(self) -> DataDirectory:
        """The same without utterances whose transcripts are empty, which are counted."""
        silent = {name for name, text in self.tables.get("text", {}).items() if not text}
        if not silent:
            return self
        return replace(self.select(self.speakers.keys() - silent), left_out=self.left_out + len(silent))

    def write(self, out: Path, stats: np.ndarray | None = None) -> None:
        """Write the directory, whole or not at all, with `stats` as cmvn.ark; it may replace one of `FOLDER`."""
        files = {file: table_text(table) for file, table in {**self.tables, **self.recordings}.items() if table}
        files |= {"spk2utt": table_text(group_speakers(self.speakers)), MADE: ""}
        files |= {WORDS: self.words} if self.words else {}
        files |= {} if self.features is None else {FEATURES: self.features}
        with atomic_folder(out, FOLDER) as temporary:
            temporary.mkdir()
            for file, content in files.items():
                (temporary / file).write_text(content, encoding="utf-8")
            if stats is not None:
                write_cmvn(temporary / "cmvn.ark", stats)


def read_directory(directory: Path) -> DataDirectory:
    """Every table of a data directory.

    Raises:
        InputError: a faulty table, one that has other utterances than utt2spk, or audio that is not there.
    """
    if not directory.is_dir():
        raise InputError(f"{directory}: no such data directory")
    speakers = load_table(directory / SPEAKERS, ordered=False)
    tables = {SPEAKERS: speakers}
    for file in TABLES:
        if (directory / file).exists():
            tables[file] = load_table(directory / file, ordered=False, empty_values=file == "text")
            if faults := compare_keys(speakers, tables[file]):
                raise InputError(faults[0])
    entries: dict[str, Mapping[str, str]] = {file: table.entries for file, table in tables.items()}
    if "feats.scp" in tables:
        locations = tables["feats.scp"].entries
        entries["feats.scp"] = {name: _absolute(location, directory) for name, location in locations.items()}
    recordings = _recordings(directory, tables)
    words = select_ctm([directory / WORDS], speakers.entries) if (directory / WORDS).exists() else ""
    features = directory / FEATURES
    text = features.read_text(encoding="utf-8") if features.exists() else None
    whole = DataDirectory(str(directory), entries, recordings, words, text)
    return whole.without_words()


def _recordings(directory: Path, tables: Mapping[str, Table]) -> dict[str, Mapping[str, str]]:
    if not (directory / "wav.scp").exists():
        if "feats.scp" not in tables:
            raise InputError(f"{directory}: has neither wav.scp nor feats.scp")
        return {}
    wavs, found = read_recordings(directory)
    if wavs.faults:
        raise InputError(wavs.faults[0])
    if "segments" not in tables and (faults := compare_keys(tables[SPEAKERS], wavs)):
        raise InputError(faults[0])
    recordings: dict[str, Mapping[str, str]] = {"wav.scp": {key: one.entry for key, one in found.items()}}
    if (directory / CHANNELS).exists():
        recordings[CHANNELS] = load_table(directory / CHANNELS, ordered=False).entries
    return recordings


def _absolute(location: str, directory: Path) -> str:
    """A location `file.ark:offset`, perhaps with a range of rows, with an absolute path."""
    place, bracket, rows = location.partition("[")
    path, offset = find_archive(place, directory)
    return f"{os.path.abspath(path)}:{offset}{bracket}{rows}"


def combine(directories: Sequence[DataDirectory]) -> DataDirectory:
    """All utterances of several directories in one.

    Where only some have segments, utterances of the others become segments of their whole recordings. Other tables that
    not all have are left out.

    Raises:
        InputError: two that share an utterance, or a recording that is not the same; features that were made otherwise.
    """
    if any("segments" in one.tables for one in directories):
        directories = [_with_segments(one) for one in directories]
    directories = [_with_durations(one) for one in directories]
    files = [file for file in (SPEAKERS, *TABLES) if all(file in one.tables for one in directories)]
    tables = {file: _merged([(one.source, one.tables[file]) for one in directories], equal=False) for file in files}
    spoken = all("wav.scp" in one.recordings for one in directories)
    if not spoken and "feats.scp" not in files:
        raise InputError(f"{directories[0].source}: not all directories have audio, nor all features")
    recordings = {
        file: _merged([(one.source, one.recordings.get(file, {})) for one in directories], equal=True)
        for file in ("wav.scp", CHANNELS)
        if spoken
    }
    if "feats.scp" in files and len({one.features for one in directories}) > 1:
        raise InputError(f"{directories[0].source}: not all directories have features of the same {FEATURES}")
    words = "".join(one.words for one in directories)
    features = directories[0].features if "feats.scp" in files else None
    left_out = sum(one.left_out for one in directories)
    return DataDirectory(directories[0].source, tables, recordings, words, features, left_out)


def _with_segments(one: DataDirectory) -> DataDirectory:
    if "segments" in one.tables:
        return one
    segments = {name: f"{name} 0 {seconds:.4f}" for name, seconds in durations(one).items()}
    return replace(one, tables={**one.tables, "segments": segments})


def _with_durations(one: DataDirectory) -> DataDirectory:
    seconds = {name: f"{duration:.4f}" for name, duration in durations(one).items()}
    return replace(one, tables={"utt2dur": seconds, **one.tables})


def _merged(tables: Sequence[tuple[str, Mapping[str, str]]], *, equal: bool) -> dict[str, str]:
    """One table of several; a key of two of them is a fault, unless `equal` allows it where the values are the same."""
    merged: dict[str, str] = {}
    came_from: dict[str, str] = {}
    for source, table in tables:
        for key, value in table.items():
            if key in merged and not (equal and merged[key] == value):
                raise InputError(f"{source}: {key} is in {came_from[key]} too")
            merged[key], came_from[key] = value, source
    return merged


def durations(one: DataDirectory) -> dict[str, float]:
    """Seconds of every utterance: by utt2dur, else by its audio, else by its frames.

    Raises:
        InputError: a line of a table that is no number, or audio that cannot be read.
    """
    if (table := one.tables.get("utt2dur")) is not None:
        seconds = {}
        for name, value in table.items():
            try:
                seconds[name] = finite(value)
            except ValueError as error:
                raise InputError(f"{one.source}/utt2dur: utterance {name}: {error}") from error
            if seconds[name] <= 0:
                raise InputError(f"{one.source}/utt2dur: utterance {name}: {value} seconds are none")
        return seconds
    directory = Path(one.source)
    if not one.recordings:
        shapes = {name: read_shape(location, directory) for name, location in one.tables["feats.scp"].items()}
        return {name: frames * FRAME_SECONDS for name, (frames, _) in shapes.items()}
    sources = read_audio_sources(directory)
    return {name: _seconds(sources[name]) for name in one.speakers}


def _seconds(source: AudioSource) -> float:
    end = read_header(source).duration if source.end is None else source.end
    return end - source.start


def summary(where: Path, one: DataDirectory) -> str:
    """One line: utterances, speakers, hours."""
    hours = sum(durations(one).values()) / 3600
    speakers = len(set(one.speakers.values()))
    silent = f"; {one.left_out} without words left out" if one.left_out else ""
    spoken = f"{speakers} speaker{'' if speakers == 1 else 's'}"
    return f"{where}: {len(one.speakers)} utterances of {spoken}, {hours:.2f} h{silent}"
