"""What a data directory with features holds besides them, and from whose data it was made."""

from __future__ import annotations

import os
from collections.abc import Container, Mapping, Sequence
from pathlib import Path

from dualtk.ctm import select_ctm
from dualtk.data.kaldi import (
    CHANNELS,
    channel_table,
    group_speakers,
    list_utterances,
    parse_text,
    read_recordings,
    without_words,
)
from dualtk.data.speeds import perturbed
from dualtk.errors import InputError
from dualtk.files import write_text
from dualtk.tables import Table, compare_keys, load_table, table_text

SOURCE = ".source"  # where the data directory is that a folder was made from: its path, and that from this folder


def claim(output: Path, directory: Path) -> None:
    """Take `output` for the features of `directory`.

    Both may have been moved since it was taken, together or each alone: what is refused is another data directory while
    the one that it was made from is still there.

    Raises:
        InputError: it is the data directory itself or inside it, or it was made from another, or by someone else.
    """
    source, record = directory.resolve(), output / SOURCE
    if source in (output.resolve(), *output.resolve().parents):
        raise InputError(f"{output}: lies in the data directory {directory} itself: choose another output folder")
    if record.exists():
        made_from = [(output / line).resolve() for line in record.read_text(encoding="utf-8").splitlines()]
        other = next((place for place in made_from if place.is_dir()), source)
        if source not in made_from and other != source:
            raise InputError(
                f"{output}: was made from {other}, not from {source}: remove it or choose another output folder"
            )
    elif output.exists() and not (output.is_dir() and all(path.name.startswith(".") for path in output.iterdir())):
        raise InputError(f"{output}: exists and was not made from {source}: choose another output folder")
    places = f"{source}\n{os.path.relpath(source, output.resolve())}\n"
    if not record.exists() or record.read_text(encoding="utf-8") != places:
        write_text(record, places)


def read_companions(
    directory: Path, speeds: Sequence[float], channel: int | None = None, without: Container[str] = ()
) -> dict[str, str]:
    """The files that go with the features of a data directory: their names and contents, for all speeds.

    These are utt2spk, spk2utt and, where there are transcripts, text; at the speed 1.0 alone also wav.scp with absolute
    paths and, where they exist, segments, reco2file_and_channel and words.ctm: what scoring and reports need. A
    `channel` of recordings with several, from 0, goes into reco2file_and_channel. Those without words are left out, and
    so are those `without` features, by their names at their speeds.

    Raises:
        InputError: a faulty table, or an utterance that one of them lacks or has beyond the others.
    """
    listing = list_utterances(directory)
    texts = [parse_text(directory)] if (directory / "text").exists() else []
    speakers_of = load_table(directory / "utt2spk")
    for name in without_words(directory):
        speakers_of.entries.pop(name, None)
    tables = {table.path.name: _complete(table, listing) for table in [*texts, speakers_of]}
    every = {perturbed(name, speed): (name, speed) for name in listing.entries for speed in speeds}
    named = {new: one for new, one in every.items() if new not in without}
    speakers = {new: perturbed(tables["utt2spk"][name], speed) for new, (name, speed) in named.items()}
    files = {"utt2spk": table_text(speakers), "spk2utt": table_text(group_speakers(speakers))}
    if texts:
        files["text"] = table_text({new: tables["text"][name] for new, (name, _) in named.items()})
    if tuple(speeds) == (1.0,):
        recordings = read_recordings(directory)[1]
        if listing.path.name != "segments":
            recordings = {name: recordings[name] for name in named if name in recordings}
        files["wav.scp"] = table_text({name: recording.entry for name, recording in recordings.items()})
        if channels := channel_table(directory, recordings, channel):
            files[CHANNELS] = table_text(channels)
        if listing.path.name == "segments":
            files["segments"] = table_text({name: listing.entries[name] for name in named})
        if (directory / "words.ctm").exists():
            files["words.ctm"] = select_ctm([directory / "words.ctm"], named)
    return files


def _complete(table: Table, listing: Table) -> dict[str, str]:
    """The entries of a table without faults that has exactly the utterances of `listing`."""
    faults = table.faults or compare_keys(listing, table)
    if faults:
        raise InputError(faults[0])
    return table.entries


def write_companions(output: Path, files: Mapping[str, str]) -> None:
    """Write the files, and remove those that the data directory no longer has."""
    for name in ("text", "utt2spk", "spk2utt", "wav.scp", CHANNELS, "segments", "words.ctm"):
        if name in files:
            write_text(output / name, files[name])
        else:
            (output / name).unlink(missing_ok=True)
