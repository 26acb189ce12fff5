"""Sequential shards: a training set as tar files, in the layout of webdataset, and the tables that go with them.

A tar holds, for each utterance, `NAME.flac` (or as the audio's own file ends) or `NAME.ark`, a matrix in Kaldi's own
binary form, and `NAME.txt`, its transcript; dots and slashes of a name are written `%2E` and `%2F`, for webdataset
ends a name at its first dot. Utterances are put into the shards at random, so that each is a sample of the set. The
folder is a data directory too: feats.scp or wav.scp name every utterance by tar and byte, so that all that reads
directories reads this one, and Kaldi the features in it.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import quote

import numpy as np
import soundfile

from dualtk.checksums import file_digest
from dualtk.data import sums
from dualtk.data.arks import read_bytes
from dualtk.data.audio import read_audio
from dualtk.data.bad import require_few, write_bad
from dualtk.data.contents import file_state
from dualtk.data.kaldi import AudioSource, group_speakers, read_audio_sources, set_name
from dualtk.data.processes import run_jobs
from dualtk.data.reading import Reading
from dualtk.data.remote import FILE
from dualtk.data.storage import Source, decoded
from dualtk.errors import InputError
from dualtk.extras import extra
from dualtk.files import atomic_path, digest, write_text
from dualtk.frames import FRAME_SECONDS
from dualtk.tables import load_table, write_table

TABLES = ("utt2spk", "text", "utt2num_frames", "utt2dur", sums.FILE)
WHOLE = ("cmvn.ark", "fbank.json", "words.ctm")  # files that are the same in shards
NEEDED = ("utt2spk", "utt2num_frames")
TAR = re.compile(r".+-[0-9a-f]{8}-\d{6}\.tar")  # what a shard is called
RECORDS = ".tars"  # what is known of each finished tar


@dataclass(frozen=True)
class Item:
    """An utterance to put into a shard: what feats.scp says, or where its audio is, its transcript, and its frames."""

    name: str
    place: str | AudioSource
    text: str
    checksum: int = sums.UNKNOWN


@dataclass(frozen=True)
class TarJob:
    """One shard.

    Attributes:
        directory: the data directory, for relative paths of archives.
        tar: to write.
        record: what is known of it then.
        items: its utterances.
        key: of all that decides its bytes.
        max_bad: utterances that may be left out.
    """

    directory: Path
    tar: Path
    record: Path
    items: tuple[Item, ...]
    key: str
    max_bad: int


@dataclass(frozen=True)
class TarResult:
    """A finished shard: where each utterance is (byte and size), its digest, and what could not be read."""

    key: str
    digest: str
    places: dict[str, tuple[int, int]]
    bad: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sharding:
    """What `write_shards` did: shards written now, of how many, utterances in all, and those that were left out."""

    written: int
    shards: int
    utterances: int
    bad: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.shards} shards of {self.utterances} utterances, {self.written or 'none'} written now"


def write_shards(
    directory: Path,
    out: Path,
    source: Source,
    *,
    hours: float,
    seed: int = 0,
    num_jobs: int = 1,
    max_bad: int = 0,
    progress: bool = True,
) -> Sharding:
    """Write the features or the audio of a folder of `dualtk features` into shards.

    Args:
        directory: the folder; it is only read.
        out: the data directory to write.
        source: what goes into the shards.
        hours: of speech in each shard, about.
        seed: of the order of utterances.
        num_jobs: processes.
        max_bad: utterances that are left out where they cannot be read; one more is an error.
        progress: show a bar.

    Raises:
        InputError: a table is not there or faulty, or an utterance cannot be read.
    """
    tables = {name: load_table(directory / name).entries for name in TABLES if (directory / name).exists()}
    for name in NEEDED:
        if name not in tables:
            raise InputError(f"{directory / name}: no such file: shards are made of a folder of `dualtk features`")
    claim_shards(out)
    absent: dict[str, str] = {}
    jobs = _jobs(directory, out, tables, source, hours, seed, max_bad, absent)
    require_few(absent, max_bad, directory)
    waiting = [job for job in jobs if _finished(job) is None]
    if waiting:
        for name in ("feats.scp", "wav.scp", FILE):  # they must never speak of shards that are being replaced
            (out / name).unlink(missing_ok=True)
    run_jobs(_write_tar, waiting, num_jobs, sum(len(job.items) for job in waiting), progress, str(out))
    results = [result for job in jobs if (result := _finished(job)) is not None]
    assert len(results) == len(jobs)
    bad = absent | {name: reason for result in results for name, reason in result.bad.items()}
    require_few(bad, max_bad, directory, sum(len(job.items) for job in jobs) + len(absent))
    _write_tables(directory, out, tables, source, jobs, results)
    write_bad(out, bad)
    _remove_others(out, jobs)
    return Sharding(len(waiting), len(jobs), sum(len(result.places) for result in results), bad)


def claim_shards(out: Path) -> None:
    """Refuse a folder that holds anything but shards."""
    there = out.exists() and any(not path.name.startswith(".") for path in out.iterdir())
    if there and not (out / RECORDS).is_dir():
        raise InputError(f"{out}: exists and is no folder of shards: choose another output")
    if foreign := sorted(path.name for path in out.glob("*.tar") if not TAR.fullmatch(path.name)):
        raise InputError(f"{out}: {foreign[0]} in it was not written by dualtk: move that away first")


def _jobs(
    directory: Path,
    out: Path,
    tables: Mapping[str, Mapping[str, str]],
    source: Source,
    hours: float,
    seed: int,
    max_bad: int,
    absent: dict[str, str],
) -> list[TarJob]:
    """Utterances in an order that `seed` draws, cut into shards of about equal length."""
    frames = {name: int(count) for name, count in tables["utt2num_frames"].items()}
    items = _items(directory, tables, source, absent if max_bad else None)
    order = np.random.default_rng(seed).permutation(len(items))
    items = [items[index] for index in order.tolist()]
    lengths = np.array([frames[item.name] for item in items], np.int64)
    count = max(1, round(float(lengths.sum()) * FRAME_SECONDS / 3600 / hours))
    shard_of = (np.cumsum(lengths) - 1) * count // max(int(lengths.sum()), 1)
    states = {path: _state(path) for path in {_file(item, directory) for item in items}}
    kind = digest([], [set_name(directory), source, seed, count, sorted(frames)])[:8]
    jobs = []
    for number in range(count):
        first, end = np.searchsorted(shard_of, [number, number + 1]).tolist()
        part = tuple(items[first:end])
        if not part:
            continue
        tar = out / f"{set_name(directory)}-{kind}-{number:06d}.tar"
        key = digest([], [tar.name, [[repr(item), states[_file(item, directory)]] for item in part]])
        jobs.append(TarJob(directory, tar, out / RECORDS / f"{number}.json", part, key, max_bad))
    return jobs


def _items(
    directory: Path, tables: Mapping[str, Mapping[str, str]], source: Source, absent: dict[str, str] | None
) -> list[Item]:
    """Every utterance with features or audio."""
    texts = tables.get("text", {})
    if source == "audio":
        sources = read_audio_sources(directory, unreadable=absent)
        names = [name for name in sources if name in tables["utt2num_frames"]]
        return [Item(name, sources[name], texts.get(name, "")) for name in names]
    checksums = {name: int(one, 16) for name, one in tables.get(sums.FILE, {}).items()}
    places = load_table(directory / "feats.scp").entries
    return [Item(name, place, texts.get(name, ""), checksums.get(name, sums.UNKNOWN)) for name, place in places.items()]


def _file(item: Item, directory: Path) -> str:
    """The file that an utterance is in."""
    if isinstance(item.place, AudioSource):
        return str(item.place.path)
    return str(directory / item.place.partition("[")[0].rpartition(":")[0])


def _state(path: str) -> str:
    try:
        return file_state(Path(path))
    except InputError as error:  # it is said when the utterance is read
        return str(error)


def _finished(job: TarJob) -> TarResult | None:
    """The record of a shard that was made from the same, or None."""
    try:
        result = TarResult(**json.loads(job.record.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return result if result.key == job.key and job.tar.is_file() else None


def _write_tar(job: TarJob) -> Generator[int, None, None]:
    """Write a shard and then its record; yields 1 per utterance."""
    with extra("shards"):
        from webdataset.writer import TarWriter
    job.record.unlink(missing_ok=True)
    bad: dict[str, str] = {}
    keys: dict[str, str] = {}
    with atomic_path(job.tar) as temporary:
        with temporary.open("wb") as stream, TarWriter(stream, encoder=False, mtime=0.0) as writer:
            for item in job.items:
                try:
                    ending, content = _content(item, job.directory)
                except InputError as error:
                    bad[item.name] = str(error)
                    require_few(bad, job.max_bad, job.directory)
                else:
                    keys[f"{member_name(item.name)}.{ending}"] = item.name
                    sample = {"__key__": member_name(item.name), ending: content, "txt": item.text.encode()}
                    writer.write(sample)
                yield 1
        with tarfile.open(temporary) as tar:
            places = {keys[one.name]: (one.offset_data, one.size) for one in tar if one.name in keys}
    write_text(job.record, json.dumps(asdict(TarResult(job.key, file_digest(job.tar), places, bad))))


def member_name(utterance: str) -> str:
    """What the files of an utterance are called in a tar, without their endings."""
    return quote(utterance, safe="").replace(".", "%2E")


def _content(item: Item, directory: Path) -> tuple[str, bytes]:
    """The ending and the bytes of an utterance's file: as they are where it is one, else FLAC of 16 bits."""
    if not isinstance(item.place, AudioSource):
        content = read_bytes(item.place, directory)
        sums.require_sum(decoded(content), item.checksum, f"{item.place}: utterance {item.name}")
        return "ark", content
    source = item.place
    samples, rate = read_audio(source)  # a file that is damaged is known now
    ending = source.path.suffix.lower().lstrip(".")
    if source.start == 0.0 and source.end is None and source.reading == Reading() and ending not in ("", "tar", "txt"):
        return ending, source.path.read_bytes()
    stream = io.BytesIO()
    whole = np.clip(np.rint(samples.numpy() * 32768.0), -32768, 32767).astype(np.int16)  # libsndfile's scale is 32767
    soundfile.write(stream, whole, rate, format="FLAC", subtype="PCM_16")
    return "flac", stream.getvalue()


def _write_tables(
    directory: Path,
    out: Path,
    tables: Mapping[str, Mapping[str, str]],
    source: Source,
    jobs: Sequence[TarJob],
    results: Sequence[TarResult],
) -> None:
    """What goes with the shards, the table that names them last."""
    locations = {
        name: f"{job.tar.name}:{start}+{size}" if source == "audio" else f"{job.tar.name}:{start}"
        for job, result in zip(jobs, results)
        for name, (start, size) in result.places.items()
    }
    for name, table in tables.items():
        if name != sums.FILE or source == "stored":
            write_table(out / name, {key: value for key, value in table.items() if key in locations})
    speakers = {name: speaker for name, speaker in tables["utt2spk"].items() if name in locations}
    write_table(out / "spk2utt", group_speakers(speakers))
    for name in WHOLE:
        if (directory / name).exists():
            _copy(directory / name, out / name)
    shards = [{"file": job.tar.name, "sha256": result.digest} for job, result in zip(jobs, results)]
    write_table(out / ("wav.scp" if source == "audio" else "feats.scp"), locations)
    write_text(out / FILE, json.dumps({"source": source, "shards": shards}, indent=1) + "\n")


def _copy(source: Path, target: Path) -> None:
    with atomic_path(target) as temporary:
        temporary.write_bytes(source.read_bytes())


def _remove_others(out: Path, jobs: Sequence[TarJob]) -> None:
    """Remove shards of an earlier cut."""
    kept = {path for job in jobs for path in (job.tar, job.record)}
    for path in [*out.glob("*.tar"), *(out / RECORDS).glob("*.json")]:
        if path not in kept:
            path.unlink()
