"""Which utterances of a data directory are read, and what is known of each beside its audio or features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dualtk.data.kaldi import left_out
from dualtk.data.remote import FILE as SHARDS
from dualtk.data.shard_list import read_shards
from dualtk.data.storage import Source
from dualtk.data.windows import ShardList
from dualtk.errors import InputError
from dualtk.tables import load_table


@dataclass(frozen=True)
class Entry:
    """One utterance: `location` is what feats.scp says, or wav.scp or segments; `targets` are its token ids."""

    name: str
    location: str
    num_frames: int
    text: str
    targets: tuple[int, ...]


@dataclass(frozen=True)
class Selection:
    """The utterances of a data directory in its order, and one line for each that was left out.

    `frames` and `sums` (see `dualtk.data.sums`) of each are there where they were kept (`dualtk.data.columns`), and so
    are `archives`: files, and which of them each utterance is in.
    """

    directory: Path
    entries: Sequence[Entry]
    dropped: list[str]
    frames: NDArray[np.int64] | None = None
    sums: NDArray[np.int64] | None = None
    archives: tuple[Sequence[str], NDArray[np.int64]] | None = None

    def shards(self) -> ShardList | None:
        """In which shard each utterance is, where the directory is one of `dualtk shard`."""
        if self.archives is None and (self.directory / SHARDS).exists():
            places = [entry.location.rpartition(":")[0] for entry in self.entries]
            numbers = {place: number for number, place in enumerate(dict.fromkeys(places))}
            return read_shards(self.directory, list(numbers), np.array([numbers[place] for place in places]))
        return None if self.archives is None else read_shards(self.directory, *self.archives)

    def spread(self, most: int | None) -> Selection:
        """At most so many of the utterances, spread evenly over all; None for all."""
        size = len(self.entries)
        if most is None or most >= size:
            return self
        return Selection(self.directory, [self.entries[place * size // most] for place in range(most)], self.dropped)


def select_utterances(
    directory: Path,
    encode: Callable[[str], Sequence[int]] | None = None,
    *,
    min_frames: int = 4,
    max_utterance_frames: int | None = None,
    source: Source = "stored",
) -> Selection:
    """Read feats.scp, utt2num_frames and text of a data directory.

    Args:
        directory: the data directory.
        encode: text to token ids (`Tokenizer.encode`); None where no targets are wanted, then text may be absent.
        min_frames: feature frames of one encoder output frame; a shorter utterance is refused.
        max_utterance_frames: longer utterances are left out, as are those without words, and listed in `dropped`; None
            for no limit.
        source: `audio` reads wav.scp, or segments, instead of feats.scp.

    Raises:
        InputError: a faulty table, an utterance without features or transcript, one too short, or none left.
    """
    feats = load_table(location_table(directory, source))
    frames = load_table(directory / "utt2num_frames")
    has_text = encode is not None or (directory / "text").exists()
    text = load_table(directory / "text", empty_values=True) if has_text else None
    entries: list[Entry] = []
    dropped = left_out(directory)
    for name, location in feats.entries.items():
        if text is not None and name not in text.entries:
            raise InputError(f"{text.path}: utterance {name} of {feats.where(name)} has no transcript")
        if text is not None and not text.entries[name]:
            continue
        count = frames.entries.get(name, "")
        if not count.isdigit():
            raise InputError(f"{frames.where(name)}: utterance {name} has no number of frames")
        num_frames = int(count)
        if num_frames < min_frames:
            raise InputError(
                f"{frames.where(name)}: utterance {name} has {num_frames} frames, "
                f"less than one output frame ({min_frames})"
            )
        if max_utterance_frames is not None and num_frames > max_utterance_frames:
            dropped.append(too_long(frames.where(name), name, num_frames, max_utterance_frames))
            continue
        words = text.entries[name] if text is not None else ""
        targets = tuple(encode(words)) if encode is not None else ()
        entries.append(Entry(name, location, num_frames, words, targets))
    if not entries:
        raise InputError(f"{feats.path}: no utterance is left" + (f"; first: {dropped[0]}" if dropped else ""))
    return Selection(directory, entries, dropped)


def location_table(directory: Path, source: Source) -> Path:
    """The table that says where each utterance of a data directory is."""
    if source == "stored":
        return directory / "feats.scp"
    return directory / ("segments" if (directory / "segments").exists() else "wav.scp")


def too_long(where: str, name: str, num_frames: int, most: int) -> str:
    """What is said of an utterance that is left out for its length; `where` is its line."""
    limit = f"more than batches.max_utterance_frames ({most})"
    return f"{where}: utterance {name} has {num_frames} frames, {limit}: left out"
