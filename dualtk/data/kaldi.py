"""Kaldi data directories: where the audio of their utterances is, and writing one.

A directory holds wav.scp, text, utt2spk, spk2utt, utt2dur, optionally segments, and after feature extraction
utt2num_frames and feats.scp (https://kaldi-asr.org/doc/data_prep.html).
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dualtk.data.pipes import is_pipe, parse_pipe
from dualtk.data.reading import Channels, Reading
from dualtk.data.remote import is_url, place_of
from dualtk.errors import InputError
from dualtk.tables import Table, parse_table, write_table

CHANNELS = "reco2file_and_channel"
# The channels of reco2file_and_channel, from 0.
LETTERS = {"A": 0, "B": 1, "0": 0, **{str(number + 1): number for number in range(64)}}
SEGMENT_CHANNELS = {"A": 0, "B": 1, **{str(number): number for number in range(64)}}  # those of segments
NAMED = 5  # examples of a fault that many lines have
PLAIN = Reading()
MEMBER = re.compile(r"(.+\.tar):(\d{1,18})\+(\d{1,18})")  # a file in a tar: the byte where it begins, and its bytes


def places(directory: Path) -> tuple[Path, ...]:
    """Where a relative path of a table is looked for: from the current folder, as in Kaldi, then from its directory."""
    return Path(), directory, directory.parent


def locate(value: str, directory: Path) -> Path | None:
    """The file that a path in a table means, or None.

    It is looked for by all that is written; never by its last part alone, by which other audio could be taken for it.
    """
    for folder in places(directory):
        if os.path.isfile(folder / value):
            return folder / value
    return None


def set_name(directory: Path) -> str:
    """The name of a data directory, however its path is written, such as `.` or `a/../b/`."""
    return os.path.basename(os.path.abspath(directory))


def not_found(what: str, directory: Path) -> str:
    """What is said of a path that `locate` finds nowhere."""
    if os.path.isabs(what):
        return what
    return f"{what} (looked in {', '.join(dict.fromkeys(os.path.abspath(place) for place in places(directory)))})"


@dataclass(frozen=True)
class AudioSource:
    """Where the samples of an utterance are.

    Attributes:
        path: a file.
        start: seconds in the recording that the file is read as.
        end: seconds; None: the end.
        reading: how the file becomes a recording.
    """

    path: Path
    start: float = 0.0
    end: float | None = None
    reading: Reading = PLAIN


@dataclass(frozen=True)
class Recording:
    """An entry of wav.scp: its file, how that is read, and the entry as it is understood from any folder."""

    path: Path
    reading: Reading
    entry: str


def list_utterances(directory: Path) -> Table:
    """The table whose keys are the utterances of a directory: segments, or else wav.scp, or else feats.scp.

    Those whose transcript is empty are no part of it (see `without_words`).
    """
    if not (directory / "wav.scp").exists():
        table = parse_table(directory / "feats.scp")
    else:
        table = parse_table(directory / ("segments" if (directory / "segments").exists() else "wav.scp"))
    for name in without_words(directory):
        table.entries.pop(name, None)
    return table


def without_words(directory: Path) -> list[str]:
    """The utterances of a directory whose transcript is empty: nothing can be learnt from them, nor scored."""
    if not (directory / "text").exists():
        return []
    return [name for name, text in parse_table(directory / "text", empty_values=True).entries.items() if not text]


def parse_text(directory: Path) -> Table:
    """The transcripts of a directory, without those that are empty."""
    table = parse_table(directory / "text", empty_values=True)
    table.entries = {name: text for name, text in table.entries.items() if text}
    return table


def left_out(directory: Path) -> list[str]:
    """One line for a directory with empty transcripts, or none."""
    names = without_words(directory)
    return empty_transcripts(directory, names[: NAMED + 1], len(names))


def empty_transcripts(directory: Path, some: Sequence[str], count: int) -> list[str]:
    """The line of `left_out` on so many utterances, the first of which are `some`."""
    if not count:
        return []
    names = " ".join(some[:NAMED]) + (" ..." if count > NAMED else "")
    said = f"{count} empty transcripts" if count > 1 else "an empty transcript"
    return [f"{directory / 'text'}: {said}, left out: {names}"]


def read_recordings(
    directory: Path, channel: int | None = None, unreadable: dict[str, str] | None = None
) -> tuple[Table, dict[str, Recording]]:
    """wav.scp, with the faults met, and the recording of each key; commands are understood and never run.

    Args:
        directory: the data directory.
        channel: of recordings with several, from 0, where the directory does not say one.
        unreadable: gets the keys whose file is not there, or whose command is not understood, with the reason; None:
            these are faults.
    """
    wavs, chosen = parse_table(directory / "wav.scp"), _chosen_channels(directory)
    recordings: dict[str, Recording] = {}
    missing: dict[str, str] = {}
    for key, value in wavs.entries.items():
        try:
            recording = _recording(value, directory)
        except InputError as error:
            if unreadable is None:
                wavs.faults.append(f"{wavs.where(key)}: {key}: {error}")
            else:
                unreadable[key] = f"{wavs.where(key)}: {error}"
            continue
        if recording is None:
            missing[key] = value
            continue
        number = chosen.get(key, channel)
        if number is not None:
            step = Channels((number,), of_several=True)
            reading = replace(recording.reading, steps=(*recording.reading.steps, step))
            recording = replace(recording, reading=reading)
        recordings[key] = recording
    if missing and unreadable is None:
        wavs.faults.append(_missing_audio(wavs, missing, directory))
    elif unreadable is not None:
        unreadable |= {key: f"{wavs.where(key)}: no audio file {_file(value)}" for key, value in missing.items()}
    return wavs, recordings


def _file(value: str) -> str:
    """The file of an entry of wav.scp."""
    return parse_pipe(value).file if is_pipe(value) else value


def _missing_audio(wavs: Table, missing: Mapping[str, str], directory: Path) -> str:
    """One line for all recordings whose file is not there."""
    (first, value), *others = missing.items()
    names = ", ".join(key for key, _ in others[:NAMED]) + (", ..." if len(others) > NAMED else "")
    more = f"; nor those of {len(others)} more: {names}" if others else ""
    return f"{wavs.where(first)}: {first}: no audio file {not_found(_file(value), directory)}{more}"


def _recording(value: str, directory: Path) -> Recording | None:
    """What an entry of wav.scp means, or None where its file is not there.

    Raises:
        InputError: a command that is not understood.
    """
    if is_pipe(value):
        try:
            pipe = parse_pipe(value)
        except InputError as error:
            raise InputError(
                f"{error} is not understood, and pipes are not run: write its audio to a file and name that"
            ) from error
        path = locate(pipe.file, directory)
        return None if path is None else Recording(path, pipe.reading, pipe.entry(os.path.abspath(path)))
    if (member := MEMBER.fullmatch(value)) is not None:
        place, size = member[1], int(member[3])
        if is_url(place):
            reading = Reading(int(member[2]), size=size, remote=(place, directory))
            return Recording(place_of(place, directory), reading, value)
        path, reading = locate(place, directory), Reading(int(member[2]), size=size)
        where = "" if path is None else os.path.abspath(path)
        return None if path is None else Recording(path, reading, f"{where}:{member[2]}+{size}")
    path = locate(value, directory)
    if path is not None:
        return Recording(path, Reading(), os.path.abspath(path))
    file, _, offset = value.rpartition(":")
    path = locate(file, directory) if offset.isdigit() and len(offset) < 20 else None
    if path is None:
        return None
    return Recording(path, Reading(int(offset)), f"{os.path.abspath(path)}:{offset}")


def audio_source(value: str, directory: Path) -> AudioSource:
    """The audio of an entry of wav.scp, whose recording has one channel.

    Raises:
        InputError: a file that is not there, or a command that is not understood.
    """
    recording = _recording(value, directory)
    if recording is None:
        raise InputError(f"{directory / 'wav.scp'}: no audio file {not_found(_file(value), directory)}")
    return AudioSource(recording.path, reading=recording.reading)


def _chosen_channels(directory: Path) -> dict[str, int]:
    """The channel of each recording, from 0, where reco2file_and_channel says it."""
    if not (directory / CHANNELS).exists():
        return {}
    lines = parse_table(directory / CHANNELS).entries
    channels = {key: LETTERS.get(value.split()[-1]) for key, value in lines.items() if value.split()}
    return {key: number for key, number in channels.items() if number is not None}


def channel_table(directory: Path, recordings: Iterable[str], channel: int | None) -> dict[str, str]:
    """reco2file_and_channel of recordings whose channel the directory or `channel` (from 0) says."""
    chosen = _chosen_channels(directory)
    numbers = {key: chosen.get(key, channel) for key in recordings}
    return {key: f"{key} {number + 1}" for key, number in numbers.items() if number is not None}


def audio_sources(
    directory: Path, channel: int | None = None, unreadable: dict[str, str] | None = None
) -> tuple[dict[str, AudioSource], list[str]]:
    """Every utterance's audio by wav.scp and segments, and the faults met; see `read_recordings`.

    Utterances without words are left out. `unreadable` gets the utterances whose recording is unreadable.
    """
    bad: dict[str, str] | None = None if unreadable is None else {}
    wavs, recordings = read_recordings(directory, channel, bad)
    faults, unwanted = list(wavs.faults), set(without_words(directory))
    if not (directory / "segments").exists():
        sources = {key: AudioSource(one.path, reading=one.reading) for key, one in recordings.items()}
        if unreadable is not None and bad is not None:
            unreadable |= {key: reason for key, reason in bad.items() if key not in unwanted}
        return {key: source for key, source in sources.items() if key not in unwanted}, faults
    segments = parse_table(directory / "segments")
    faults += segments.faults
    sources = {}
    for key, value in segments.entries.items():
        segment = _parse_segment(value)
        if segment is None or segment.recording not in wavs.entries:
            faults.append(
                f"{segments.where(key)}: {key}: expected 'recording start end' (and perhaps a channel), not '{value}'"
            )
        elif segment.recording in recordings and key not in unwanted:  # a recording's own fault is listed already
            sources[key] = segment.of(recordings[segment.recording])
        elif unreadable is not None and bad is not None and key not in unwanted:
            unreadable[key] = bad[segment.recording]
    return sources, faults


@dataclass(frozen=True)
class _Segment:
    """A line of segments; times in seconds, an end of None is that of the recording, a channel from 0."""

    recording: str
    start: float
    end: float | None
    channel: int | None

    def of(self, recording: Recording) -> AudioSource:
        """Its samples."""
        reading = recording.reading
        if self.channel is not None:
            steps = [step for step in reading.steps if not (isinstance(step, Channels) and step.of_several)]
            reading = replace(reading, steps=(*steps, Channels((self.channel,))))
        return AudioSource(recording.path, self.start, self.end, reading)


def _parse_segment(value: str) -> _Segment | None:
    """A line of segments, or None where it is none."""
    try:
        recording, start, end, *others = value.split()
        times = float(start), None if float(end) == -1 else float(end)
        channel = SEGMENT_CHANNELS[others[0]] if others else None
    except (ValueError, KeyError):
        return None
    fits = len(others) <= 1 and 0.0 <= times[0] < (math.inf if times[1] is None else times[1])
    return _Segment(recording, *times, channel) if fits and times[1] != math.inf else None


def read_audio_sources(
    directory: Path, channel: int | None = None, unreadable: dict[str, str] | None = None
) -> dict[str, AudioSource]:
    """Every utterance's audio; InputError names the first fault. See `audio_sources`."""
    sources, faults = audio_sources(directory, channel, unreadable)
    if faults:
        more = f" (and {len(faults) - 1} more faults: dualtk validate)" if len(faults) > 1 else ""
        raise InputError(faults[0] + more)
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
