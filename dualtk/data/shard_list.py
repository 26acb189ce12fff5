"""In which shard each utterance of a data directory is, by shards.json and the places that its table says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dualtk.data.remote import FILE, read_facts
from dualtk.data.windows import ShardList
from dualtk.errors import InputError


def read_shards(directory: Path, places: Sequence[str], place_of: NDArray[np.int64]) -> ShardList | None:
    """The shards of a directory; None where its utterances are in none.

    Args:
        directory: the data directory.
        places: the tars that its utterances are in, as its table names them.
        place_of: which of them each utterance is in.

    Raises:
        InputError: one that shards.json does not list, or a weight that is none.
    """
    path = directory / FILE
    if not path.exists():
        return None
    listed = read_facts(directory).shards
    numbers = {one.file: number for number, one in enumerate(listed)}
    if unknown := [place for place in places if place not in numbers]:
        raise InputError(f"{path}: does not list {unknown[0]}")
    if len(place_of) and int(np.min(place_of)) < 0:
        raise InputError(f"{path}: an utterance of {directory} is in no shard")
    weights = np.array([one.weight for one in listed], np.float64)
    corpus = np.array([one.corpus for one in listed], np.int64)
    shard_of_place = np.array([numbers[place] for place in places], np.int64)
    return ShardList(shard_of_place[place_of], corpus, weights)
