"""Data directories of shards that lie elsewhere: at a URL, or in several other directories that are read together."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dualtk.data import sums
from dualtk.data.arks import read_matrix, write_cmvn
from dualtk.data.kaldi import group_speakers
from dualtk.data.remote import FILE, SetFacts, copy, fetch_facts, is_url, read_facts
from dualtk.data.shards import RECORDS, TABLES, WHOLE, claim_shards
from dualtk.errors import InputError
from dualtk.files import atomic_path, write_text
from dualtk.frames import FRAME_SECONDS
from dualtk.tables import load_table, write_table


def take_tables(url: str, out: Path, cache: Path | None = None, cache_gb: float | None = None) -> int:
    """Write a data directory for shards that lie at a URL: the tables, which name them there.

    Args:
        url: of a folder that `write_shards` wrote, and that was copied there with all that is in it.
        out: the data directory to write.
        cache: where shards are kept while they are read; None: in `out`.
        cache_gb: gigabytes that are kept there; None: 100.

    Returns:
        The number of shards.

    Raises:
        InputError: something is not there.
    """
    place = url.rstrip("/")
    facts = fetch_facts(place)
    _require_free(out)
    table = "wav.scp" if facts.source == "audio" else "feats.scp"
    optional = {"text", "utt2dur", *WHOLE, *([sums.FILE] if table == "feats.scp" else [])}
    with tempfile.TemporaryDirectory() as folder:
        for name in (table, "utt2spk", "spk2utt", "utt2num_frames", *sorted(optional)):
            try:
                copy(f"{place}/{name}", Path(folder, name))
            except InputError:
                if name not in optional:
                    raise
        bare = load_table(Path(folder, table)).entries
        _claim(out)
        (out / table).unlink(missing_ok=True)
        for path in sorted(Path(folder).iterdir()):
            if path.name != table:
                with atomic_path(out / path.name, durable=False) as temporary:
                    shutil.copyfile(path, temporary)
    write_table(out / table, {name: f"{place}/{location}" for name, location in bare.items()})
    shards = [one.model_copy(update={"file": f"{place}/{one.file}"}) for one in facts.shards]
    more = {"cache": None if cache is None else os.path.abspath(cache), "cache_gb": cache_gb, "shards": shards}
    write_text(out / FILE, facts.model_copy(update=more).model_dump_json(indent=1) + "\n")
    return len(shards)


def hours_of(directory: Path) -> float:
    """Hours of the utterances of a directory, by their frames."""
    frames = load_table(directory / "utt2num_frames").entries.values()
    return sum(map(int, frames)) * FRAME_SECONDS / 3600


def mix(parts: Sequence[tuple[Path, float]], out: Path) -> int:
    """Write a data directory of several others in shards, each with how often an epoch reads it.

    Args:
        parts: directories, and the weight of each.
        out: the data directory to write; the shards stay where they are.

    Returns:
        The number of utterances.

    Raises:
        InputError: they hold different things, or one utterance is in two of them.
    """
    if same := [directory for directory, _ in parts if os.path.realpath(directory) == os.path.realpath(out)]:
        raise InputError(f"{same[0]}: is to be read and written: choose another output")
    facts = [read_facts(directory) for directory, _ in parts]
    first = parts[0][0]
    if len({one.source for one in facts}) > 1:
        raise InputError(f"{first}: not all of the directories hold the same, audio or features")
    kinds = {(directory / "fbank.json").read_text(encoding="utf-8") for directory, _ in parts}
    if len(kinds) > 1:
        raise InputError(f"{first}: not all of the directories have the same fbank.json")
    table = "wav.scp" if facts[0].source == "audio" else "feats.scp"
    merged: dict[str, dict[str, str]] = {}
    for name in (*TABLES, table):
        if all((directory / name).exists() for directory, _ in parts):
            merged[name] = _merged([directory for directory, _ in parts], name)
    statistics = _mixed_statistics(parts)
    _claim(out)
    for name, entries in merged.items():
        write_table(out / name, entries)
    write_table(out / "spk2utt", group_speakers(merged["utt2spk"]))
    write_text(out / "fbank.json", kinds.pop())
    write_cmvn(out / "cmvn.ark", statistics)
    shards = [
        one.model_copy(update={"file": _anywhere(one.file, directory), "corpus": number, "weight": weight})
        for number, ((directory, weight), fact) in enumerate(zip(parts, facts))
        for one in fact.shards
    ]
    cache = next((one.cache for one in facts if one.cache), None)
    cache_gb = next((one.cache_gb for one in facts if one.cache_gb), None)
    whole = SetFacts(source=facts[0].source, shards=shards, cache=cache, cache_gb=cache_gb)
    write_text(out / FILE, whole.model_dump_json(indent=1) + "\n")
    return len(merged[table])


def _claim(out: Path) -> None:
    """Make `out` a folder of tables alone, or refuse it."""
    _require_free(out)
    (out / RECORDS).mkdir(parents=True, exist_ok=True)


def _require_free(out: Path) -> None:
    """Refuse what is no folder of shards, or holds some: they would lose their tables.

    Raises:
        InputError: says so.
    """
    claim_shards(out)
    if tars := sorted(out.glob("*.tar")):
        raise InputError(f"{out}: holds {tars[0].name}, whose tables would be replaced: choose another output")


def _anywhere(place: str, directory: Path) -> str:
    """A tar, or a place in one, as it is named from any folder."""
    return place if is_url(place) else os.path.abspath(directory / place)


def _merged(directories: Sequence[Path], name: str) -> dict[str, str]:
    entries: dict[str, str] = {}
    for directory in directories:
        own = load_table(directory / name).entries
        if both := entries.keys() & own.keys():
            raise InputError(f"{directory / name}: utterance {min(both)} is in another of the directories too")
        is_place = name in ("wav.scp", "feats.scp")
        entries |= {key: _anywhere(value, directory) if is_place else value for key, value in own.items()}
    return entries


def _mixed_statistics(parts: Sequence[tuple[Path, float]]) -> np.ndarray:
    """Mean and variance of what an epoch reads."""
    total: np.ndarray | None = None
    for directory, weight in parts:
        path = directory / "cmvn.ark"
        if not path.exists():
            raise InputError(f"{path}: no such file")
        stats = weight * read_matrix(str(path), directory).astype(np.float64)
        total = stats if total is None else total + stats
    assert total is not None
    return total
