"""Every fault of a data directory, each with its file and line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dualtk.ctm import parse_ctm
from dualtk.data.arks import read_cmvn, read_shape
from dualtk.data.audio import read_audio, read_header
from dualtk.data.kaldi import AudioSource, audio_sources, group_speakers, list_utterances
from dualtk.data.kinds import read_options
from dualtk.errors import InputError
from dualtk.frames import FRAME_SECONDS
from dualtk.tables import Table, compare_keys, parse_table
from dualtk.trn import trn_id

READERS: dict[str, Callable[[Path], object]] = {
    "cmvn.ark": read_cmvn,
    "fbank.json": lambda path: read_options(path.parent),
}
DURATION_TOLERANCE = 0.05  # seconds by which utt2dur may differ from the audio: some tools write two decimals


def validate(
    directory: Path,
    *,
    decode_audio: bool = False,
    expected_rate: int | None = None,
    min_duration: float = 0.04,
    needs_text: bool = True,
) -> list[str]:
    """List every fault of a data directory as `file:line: what is wrong`; an empty list means that it is whole.

    Args:
        directory: needs text, utt2spk and either wav.scp or feats.scp; the other tables are checked where they exist.
        decode_audio: decode every file to its end, not only its header.
        expected_rate: sample rate in Hz that all audio must have; None for any.
        min_duration: seconds of one encoder output frame; a shorter utterance is a fault.
        needs_text: whether a directory without transcripts is at fault; pre-training needs none.
    """
    if not directory.is_dir():
        return [f"{directory}: no such data directory"]
    has_audio, has_feats = (directory / "wav.scp").exists(), (directory / "feats.scp").exists()
    if not has_audio and not has_feats:
        return [f"{directory}: has neither wav.scp nor feats.scp"]
    speakers = parse_table(directory / "utt2spk")
    tables = [parse_table(directory / "text")] if needs_text or (directory / "text").exists() else []
    tables.append(speakers)
    faults = [fault for table in tables for fault in table.faults]
    listing = list_utterances(directory)
    for table in tables:
        if table.entries:
            faults += compare_keys(listing, table)
    faults += _speaker_faults(directory, speakers)
    if tables[0] is not speakers:
        faults += _name_faults(tables[0], speakers)
    if (directory / "words.ctm").exists():
        faults += parse_ctm(directory / "words.ctm")[1]
    if has_audio:
        sources, audio_faults = audio_sources(directory)
        faults += audio_faults
        faults += _audio_faults(directory, listing, sources, decode_audio, expected_rate, min_duration)
    if has_feats:
        faults += _feature_faults(directory, listing, 0.0 if has_audio else min_duration)
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
    for name in text.entries:
        try:
            trn_id(name, speakers.entries.get(name, name))
        except InputError as error:
            faults.append(f"{text.where(name)}: {error}")
    return faults


def _audio_faults(
    directory: Path,
    listing: Table,
    sources: dict[str, AudioSource],
    decode_audio: bool,
    expected_rate: int | None,
    min_duration: float,
) -> list[str]:
    """Audio that cannot be read, is no mono speech of the expected rate, is too short, or is not as long as said."""
    durations = _optional(directory / "utt2dur")
    faults = [*durations.faults, *(compare_keys(listing, durations) if durations.entries else [])]
    for name, source in sources.items():
        try:
            header = read_header(source.path, expected_rate)
            if decode_audio:
                read_audio(source, expected_rate)
        except InputError as error:
            faults.append(f"{listing.where(name)}: utterance {name}: {error}")
            continue
        duration = min(header.duration, source.end or header.duration) - source.start
        if duration < min_duration:
            faults.append(
                f"{listing.where(name)}: utterance {name} lasts {duration:.4f} s, "
                f"less than one output frame ({min_duration} s)"
            )
        said = durations.entries.get(name)
        if said is not None and not _close(said, duration):
            faults.append(f"{durations.where(name)}: utterance {name} lasts {duration:.4f} s, not {said} s")
    return faults


def _optional(path: Path) -> Table:
    return parse_table(path) if path.exists() else Table(path)


def _close(said: str, duration: float) -> bool:
    try:
        return abs(float(said) - duration) <= DURATION_TOLERANCE
    except ValueError:
        return False


def _feature_faults(directory: Path, listing: Table, min_duration: float) -> list[str]:
    """Features that are missing, too short, of several dimensions, or not as many frames as utt2num_frames says."""
    feats, frames = parse_table(directory / "feats.scp"), parse_table(directory / "utt2num_frames")
    faults = [*feats.faults, *frames.faults]
    if listing.path != feats.path and feats.entries:
        faults += compare_keys(listing, feats)
    for name, read in READERS.items():
        try:
            if (directory / name).exists():
                read(directory / name)
        except InputError as error:
            faults.append(str(error))
    dim: int | None = None
    for name, location in feats.entries.items():
        try:
            shape = read_shape(location, directory)
        except InputError as error:
            faults.append(f"{feats.where(name)}: utterance {name}: {error}")
            continue
        dim = dim or shape[1]
        if shape[0] * FRAME_SECONDS < min_duration:
            faults.append(f"{feats.where(name)}: utterance {name} has {shape[0]} frames, less than {min_duration} s")
        if shape[1] != dim:
            faults.append(f"{feats.where(name)}: utterance {name} has {shape[1]} features a frame, others {dim}")
        if frames.entries and frames.entries.get(name) != str(shape[0]):
            said = frames.entries.get(name, "no number")
            faults.append(f"{frames.where(name)}: utterance {name} has {shape[0]} frames, not {said}")
    return faults
