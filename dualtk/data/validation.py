"""Every fault of a data directory, each with its file and line."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dualtk.ctm import parse_ctm
from dualtk.data.arks import read_cmvn, read_features
from dualtk.data.audio import check_segment, read_audio, read_header
from dualtk.data.kaldi import (
    AudioSource,
    audio_sources,
    group_speakers,
    list_utterances,
    parse_text,
    without_words,
)
from dualtk.data.kinds import read_options
from dualtk.data.processes import run_jobs
from dualtk.errors import InputError
from dualtk.frames import FRAME_SECONDS
from dualtk.tables import Table, compare_keys, parse_table
from dualtk.trn import trn_id

READERS: dict[str, Callable[[Path], int]] = {
    "cmvn.ark": lambda directory: len(read_cmvn(directory / "cmvn.ark")[0]),
    "fbank.json": lambda directory: read_options(directory).dim,
}  # files beside features, and the features a frame that each is for
DURATION_TOLERANCE = 0.05  # seconds by which utt2dur may differ from the audio: some tools write two decimals
CHUNK = 200  # utterances that a process looks at in one go


@dataclass(frozen=True)
class Checks:
    """What is checked, and how; see `validate`."""

    decode_audio: bool = False
    expected_rate: int | None = None
    min_duration: float = 0.04
    needs_text: bool = True
    channel: int | None = None
    num_jobs: int = 1
    progress: bool = False


def validate(directory: Path, **options: Any) -> list[str]:
    """List every fault of a data directory as `file:line: what is wrong`; an empty list means that it is whole.

    Args:
        directory: needs text, utt2spk and either wav.scp or feats.scp; the other tables are checked where they exist.
            Utterances without words are no fault: all stages leave them out (`dualtk.data.kaldi.left_out`).
        options: `decode_audio`: decode every file to its end, not only its header. `expected_rate`: sample rate in Hz
            that all audio must have; None for any. `min_duration`: seconds of one encoder output frame; a shorter
            utterance is a fault. `needs_text`: whether a directory without transcripts is at fault; pre-training needs
            none. `channel`: of recordings with several, from 0, where the directory says none. `num_jobs`: processes.
            `progress`: show a bar.
    """
    checks = Checks(**options)
    if not directory.is_dir():
        return [f"{directory}: no such data directory"]
    has_audio, has_feats = (directory / "wav.scp").exists(), (directory / "feats.scp").exists()
    if not has_audio and not has_feats:
        return [f"{directory}: has neither wav.scp nor feats.scp"]
    speakers, unwanted = parse_table(directory / "utt2spk"), without_words(directory)
    faults = _speaker_faults(directory, speakers)
    for name in unwanted:
        speakers.entries.pop(name, None)
    tables = [parse_text(directory)] if checks.needs_text or (directory / "text").exists() else []
    tables.append(speakers)
    listing = list_utterances(directory)
    mismatches = [fault for table in tables if table.entries for fault in compare_keys(listing, table)]
    faults = [*(fault for table in tables for fault in table.faults), *mismatches, *faults]
    if tables[0] is not speakers:
        if not tables[0].entries and unwanted:
            faults.append(f"{directory / 'text'}: every transcript is empty")
        faults += _name_faults(tables[0], speakers)
    if (directory / "words.ctm").exists():
        faults += parse_ctm(directory / "words.ctm")[1]
    if has_audio:
        sources, audio_faults = audio_sources(directory, checks.channel)
        faults += audio_faults
        faults += _audio_faults(directory, listing, sources, checks)
    if has_feats:
        faults += _feature_faults(directory, listing, 0.0 if has_audio else checks.min_duration, checks)
    return faults


def _speaker_faults(directory: Path, speakers: Table) -> list[str]:
    """Whether spk2utt is utt2spk turned round."""
    if not (directory / "spk2utt").exists():
        return []
    groups = parse_table(directory / "spk2utt")
    faults = list(groups.faults)
    expected = group_speakers(speakers.entries)
    for speaker in sorted(groups.entries.keys() | expected.keys()):
        if " ".join(groups.entries.get(speaker, "").split()) != expected.get(speaker, ""):
            faults.append(f"{groups.where(speaker)}: speaker {speaker} does not agree with utt2spk")
    return faults


def _name_faults(text: Table, speakers: Table) -> list[str]:
    """Utterances with transcripts that cannot be scored, for their names cannot be written as trn."""
    faults = []
    known: dict[str, str] = {}
    for name in text.entries:
        try:
            identity = trn_id(name, speakers.entries.get(name, name))
        except InputError as error:
            faults.append(f"{text.where(name)}: {error}")
            continue
        if known.setdefault(identity, name) != name:
            faults.append(
                f"{text.where(name)}: utterance {name}: as trn its id is {identity}, that of {known[identity]}"
            )
    return faults


@dataclass(frozen=True)
class _AudioJob:
    """Some utterances with audio: name, place in the listing, source, and place and value of utt2dur."""

    items: tuple[tuple[str, str, AudioSource, tuple[str, str] | None], ...]
    decode: bool
    expected_rate: int | None
    min_duration: float


def _audio_faults(directory: Path, listing: Table, sources: Mapping[str, AudioSource], checks: Checks) -> list[str]:
    """Audio that cannot be read, is no mono speech of the expected rate, is too short, or is not as long as said."""
    durations = _optional(directory / "utt2dur")
    unwanted = set(without_words(directory))
    durations.entries = {name: value for name, value in durations.entries.items() if name not in unwanted}
    faults = [*durations.faults, *(compare_keys(listing, durations) if durations.entries else [])]
    said = {name: (durations.where(name), value) for name, value in durations.entries.items()}
    items = [(name, listing.where(name), source, said.get(name)) for name, source in sources.items()]
    items.sort(key=lambda item: str(item[2].path))  # shards may be fetched, and go again where there is no room
    jobs = [
        _AudioJob(tuple(items[start : start + CHUNK]), checks.decode_audio, checks.expected_rate, checks.min_duration)
        for start in range(0, len(items), CHUNK)
    ]
    found = run_jobs(_check_audio, jobs, checks.num_jobs, len(items), checks.progress, f"{directory}: audio")
    of_utterance = {name: fault for each in found for name, fault in each.items()}
    return faults + [fault for name in sources for fault in of_utterance.get(name, [])]


def _check_audio(job: _AudioJob) -> Generator[int, None, dict[str, list[str]]]:
    found: dict[str, list[str]] = {}
    for name, where, source, said in job.items:
        faults = found[name] = []
        try:
            header = read_header(source, job.expected_rate)
            check_segment(source, header)
            if job.decode:
                read_audio(source, job.expected_rate)
        except InputError as error:
            faults.append(f"{where}: utterance {name}: {error}")
            yield 1
            continue
        duration = min(header.duration, source.end or header.duration) - source.start
        if duration < job.min_duration:
            faults.append(
                f"{where}: utterance {name} lasts {duration:.4f} s, less than one output frame ({job.min_duration} s)"
            )
        if said is not None and not _close(said[1], duration):
            faults.append(f"{said[0]}: utterance {name} lasts {duration:.4f} s, not {said[1]} s")
        yield 1
    return found


def _optional(path: Path) -> Table:
    return parse_table(path) if path.exists() else Table(path)


def _close(said: str, duration: float) -> bool:
    try:
        return abs(float(said) - duration) <= DURATION_TOLERANCE
    except ValueError:
        return False


@dataclass(frozen=True)
class _FeatureJob:
    """Some lines of feats.scp: utterance, its place, and location."""

    table: Path
    items: tuple[tuple[str, str, str], ...]


def _check_features(job: _FeatureJob) -> Generator[int, None, list[tuple[tuple[int, int] | None, str | None]]]:
    """The shape of the features of each utterance, or what is wrong with them."""
    found: list[tuple[tuple[int, int] | None, str | None]] = []
    for name, where, location in job.items:
        try:
            matrix = read_features(job.table, name, location)
            found.append(((matrix.shape[0], matrix.shape[1]), None))
        except InputError as error:
            found.append((None, f"{where}: {str(error).removeprefix(f'{job.table}: ')}"))
        yield 1
    return found


def _feature_faults(directory: Path, listing: Table, min_duration: float, checks: Checks) -> list[str]:
    """Features that are missing, short, no numbers, of several dimensions, or not as many as utt2num_frames says."""
    feats, frames = parse_table(directory / "feats.scp"), _optional(directory / "utt2num_frames")
    faults = [*feats.faults, *frames.faults]
    for name in without_words(directory):
        feats.entries.pop(name, None)
    if listing.path != feats.path and feats.entries:
        faults += compare_keys(listing, feats)
    items = [(name, feats.where(name), location) for name, location in feats.entries.items()]
    items.sort(key=lambda item: item[2])  # shards may be fetched, and go again where there is no room
    jobs = [_FeatureJob(feats.path, tuple(items[start : start + CHUNK])) for start in range(0, len(items), CHUNK)]
    found = run_jobs(_check_features, jobs, checks.num_jobs, len(items), checks.progress, f"{directory}: features")
    dim: int | None = None
    of_utterance = dict(zip(items, [one for each in found for one in each]))
    for name, where, location in ((name, feats.where(name), location) for name, location in feats.entries.items()):
        shape, fault = of_utterance[name, where, location]
        if shape is None:
            faults.append(str(fault))
            continue
        dim = dim or shape[1]
        if shape[0] * FRAME_SECONDS < min_duration:
            faults.append(f"{where}: utterance {name} has {shape[0]} frames, less than {min_duration} s")
        if shape[1] != dim:
            faults.append(f"{where}: utterance {name} has {shape[1]} features a frame, others {dim}")
        if frames.entries and frames.entries.get(name) != str(shape[0]):
            said = frames.entries.get(name, "no number")
            faults.append(f"{frames.where(name)}: utterance {name} has {shape[0]} frames, not {said}")
    return faults + _file_faults(directory, dim)


def _file_faults(directory: Path, dim: int | None) -> list[str]:
    """What goes with features: statistics and options that cannot be read, or are of another dimension."""
    faults = []
    for name, read in READERS.items():
        try:
            size = read(directory) if (directory / name).exists() else None
            if None not in (size, dim) and size != dim:
                faults.append(f"{directory / name}: is for {size} features a frame, those of feats.scp have {dim}")
        except InputError as error:
            faults.append(str(error))
    return faults
