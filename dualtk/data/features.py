"""Feature extraction: audio to archives in a directory of their own, by several processes, resumable at any moment.

Utterances are cut into shards. A shard is an archive and a `.shards/N.json` that carries a digest of what it was made
from, contents of audio included, and one of the archive; both appear whole or not at all, so a killed run keeps its
finished shards and the tables are written last.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from dualtk.checksums import file_digest
from dualtk.data import contents, sums
from dualtk.data.arks import read_matrix, write_cmvn, write_entry
from dualtk.data.audio import read_audio
from dualtk.data.companions import claim, read_companions, write_companions
from dualtk.data.contents import Digests
from dualtk.data.kaldi import AudioSource, read_audio_sources, set_name
from dualtk.data.kinds import FeaturesOptions, extract, frame_fields, read_options, write_options
from dualtk.data.processes import run_jobs
from dualtk.data.reading import Reading
from dualtk.data.samples import SampleOptions
from dualtk.data.speeds import perturbed
from dualtk.errors import InputError
from dualtk.files import Done, atomic_path, digest, write_text
from dualtk.tables import write_table

SHARD_UTTERANCES = 1000  # what a kill can cost one process: some 15 seconds of work
MIN_SHARDS = 16  # so that a small corpus keeps as many processes busy
SAME = 1e-3  # by which another machine's arithmetic may change a feature


@dataclass(frozen=True)
class Task:
    """One utterance to extract: its name, where its audio is, and at what speed it is played."""

    name: str
    source: AudioSource
    speed: float


@dataclass(frozen=True)
class Shard:
    """One archive: `feats.<number>.ark` in `directory`, and the digest of all that decides its bytes."""

    directory: Path
    number: int
    tasks: tuple[Task, ...]
    options: FeaturesOptions
    expected_rate: int | None
    key: str

    @property
    def ark(self) -> Path:
        """The archive."""
        return self.directory / f"feats.{self.number}.ark"

    @property
    def record(self) -> Path:
        """What is known of the finished archive."""
        return self.directory / ".shards" / f"{self.number}.json"


@dataclass(frozen=True)
class ShardResult:
    """What is known of a finished shard: (name, byte offset, frames, seconds) per utterance, and CMVN statistics.

    `key` tells what it was made from, `digest` what its archive holds, `sums` each matrix of it (`dualtk.data.sums`).
    """

    key: str
    digest: str
    entries: list[tuple[str, int, int, float]]
    sums: list[str]
    stats: list[list[float]]


@dataclass(frozen=True)
class Extraction:
    """What `extract_set` did: utterances extracted, of how many, and whether tables were written."""

    extracted: int
    total: int
    tables: bool

    def __bool__(self) -> bool:
        return self.tables

    def __str__(self) -> str:
        if not self.tables:
            return "unchanged"
        if self.extracted in (0, self.total):
            return "written" if self.extracted else "unchanged, tables written"
        return f"written, {self.extracted} of {self.total} utterances"


def set_folder(directory: Path, out: Path, speeds: Sequence[float] = (1.0,)) -> Path:
    """Where below `out` the features of a data directory go: under its own name, with _sp at other speeds than 1.0."""
    name = set_name(directory)
    return out / (name if tuple(speeds) == (1.0,) else f"{name}_sp")


def require_folders(sets: Iterable[tuple[Path, Sequence[float]]], out: Path) -> None:
    """Refuse data directories, each with its speeds, of which two would share a folder (see `set_folder`).

    Raises:
        InputError: names both.
    """
    folders: dict[Path, Path] = {}
    for directory, speeds in sets:
        folder = set_folder(directory, out, speeds)
        other = folders.setdefault(folder, directory)
        if other.resolve() != directory.resolve():
            raise InputError(f"{other} and {directory} have the same name: the features of both would go to {folder}")


def extract_set(
    directory: Path,
    out: Path,
    options: FeaturesOptions,
    *,
    speeds: Sequence[float] = (1.0,),
    cmvn: bool = False,
    num_jobs: int = 1,
    expected_rate: int | None = None,
    channel: int | None = None,
    progress: bool = True,
) -> Extraction:
    """Make a data directory with features (where `set_folder` says) out of one with audio, which is only read.

    Args:
        directory: wav.scp, utt2spk and, where they exist, segments, text and words.ctm; see `read_companions`.
        out: the folder of directories with such features, apart from the user's data.
        options: of the features; their speeds are for training sets, and not looked at here.
        speeds: playing speeds; every utterance is extracted at each.
        cmvn: also sum up mean and variance over all frames.
        num_jobs: processes, one thread each; the files do not depend on how many.
        expected_rate: refuse audio of another sample rate (Hz) instead of resampling it.
        channel: of recordings with several, from 0, where the directory says none.
        progress: show a bar.

    Returns:
        What had to be written.

    Raises:
        InputError: an utterance and its file at fault (finished shards are kept for the next attempt), or a folder that
            was made from another data directory.
    """
    output = set_folder(directory, out, speeds)
    tasks, companions = _list_tasks(directory, speeds, channel), read_companions(directory, speeds, channel)
    claim(output, directory)
    digests = Digests(output / contents.FILE)
    shards = _make_shards(output, tasks, options, expected_rate, digests.of_all(_audio(tasks), num_jobs))
    digests.save()
    waiting = _unfinished(shards, digests)
    done = Done(output / ".features.done")
    key = digest([], [os.path.abspath(output), [shard.key for shard in shards], companions])
    if not waiting and done.matches(key) and _has_tables(output, cmvn):
        return Extraction(0, len(tasks), tables=False)
    done.clear()
    for name in ("feats.scp", "cmvn.ark"):  # they must never speak of archives that are being replaced
        (output / name).unlink(missing_ok=True)
    extracted = sum(len(shard.tasks) for shard in waiting)
    run_jobs(extract_shard, waiting, num_jobs, extracted, progress, str(output))
    results = [result for shard in shards if (result := _finished(shard)) is not None]
    assert len(results) == len(shards)
    write_companions(output, companions)
    write_options(output, options)
    _write_tables(output, shards, results, cmvn)
    _remove_others(output, shards)
    for shard, result in zip(shards, results):
        digests.learn(shard.ark, result.digest)
    digests.save()
    done.write(key)
    return Extraction(extracted, len(tasks), tables=True)


def _has_tables(output: Path, cmvn: bool) -> bool:
    return (output / "feats.scp").exists() and (not cmvn or (output / "cmvn.ark").exists())


def _list_tasks(directory: Path, speeds: Sequence[float], channel: int | None) -> list[Task]:
    """Every utterance at every speed, in the order of their names."""
    sources = read_audio_sources(directory, channel)
    if not sources:
        raise InputError(f"{directory / 'wav.scp'}: lists no utterances")
    tasks = [Task(perturbed(name, speed), source, speed) for name, source in sources.items() for speed in speeds]
    return sorted(tasks, key=lambda task: task.name)


def _audio(tasks: Iterable[Task]) -> Iterator[Path]:
    return (task.source.path for task in tasks)


def _make_shards(
    output: Path, tasks: list[Task], options: FeaturesOptions, expected_rate: int | None, audio: Mapping[Path, str]
) -> list[Shard]:
    """Cut the tasks evenly, whatever the number of processes; `audio` tells what the files hold."""
    count = min(len(tasks), max(MIN_SHARDS, -(-len(tasks) // SHARD_UTTERANCES)))
    shards: list[Shard] = []
    for number in range(count):
        part = tuple(tasks[number * len(tasks) // count : (number + 1) * len(tasks) // count])
        what = [[task.name, audio[task.source.path], *_part(task.source), task.speed] for task in part]
        key = digest([], [frame_fields(options), expected_rate, what])
        shards.append(Shard(output, number + 1, part, options, expected_rate, key))
    return shards


def _part(source: AudioSource) -> list[object]:
    """What an utterance is of its file, as it goes into the key of a shard."""
    return [source.start, source.end, *([] if source.reading == Reading() else [repr(source.reading)])]


def _finished(shard: Shard) -> ShardResult | None:
    """The record of a shard that was made from the same inputs, or None."""
    try:
        result = ShardResult(**json.loads(shard.record.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return result if result.key == shard.key and shard.ark.is_file() else None


def _unfinished(shards: list[Shard], digests: Digests) -> list[Shard]:
    """The shards to extract: all, where the code or a library that makes features makes others now."""
    results = {shard.number: _finished(shard) for shard in shards}
    whole = [
        shard
        for shard in shards
        if (result := results[shard.number]) is not None and digests.of(shard.ark) == result.digest
    ]
    if whole and not _made_today(whole[0]):
        return shards
    return [shard for shard in shards if shard not in whole]


def _made_today(shard: Shard) -> bool:
    """Whether the first utterance of a finished shard would have the same features if it were extracted now."""
    result = _finished(shard)
    assert result is not None
    before = read_matrix(f"{shard.ark}:{result.entries[0][1]}", shard.directory)
    now, _ = _extract(shard.tasks[0], shard)
    return before.shape == now.shape and np.allclose(before, now, atol=SAME, rtol=SAME)


def extract_shard(shard: Shard) -> Generator[int, None, None]:
    """Write one archive and then its record; yields 1 per utterance done."""
    entries: list[tuple[str, int, int, float]] = []
    crcs: list[str] = []
    stats = np.zeros((2, shard.options.dim + 1))
    shard.record.unlink(missing_ok=True)
    with atomic_path(shard.ark) as temporary, temporary.open("wb") as stream:
        for task in shard.tasks:
            matrix, duration = _extract(task, shard)
            offset = write_entry(stream, task.name, matrix)
            entries.append((task.name, offset, len(matrix), duration))
            crcs.append(sums.checksum(matrix))
            stats[0, :-1] += matrix.sum(axis=0, dtype=np.float64)
            stats[1, :-1] += np.square(matrix, dtype=np.float64).sum(axis=0)
            stats[0, -1] += len(matrix)
            yield 1
        stream.flush()
        os.fsync(stream.fileno())  # the record must never outlive the archive it describes
    result = ShardResult(shard.key, file_digest(shard.ark), entries, crcs, stats.tolist())
    write_text(shard.record, json.dumps(asdict(result)))


def _extract(task: Task, shard: Shard) -> tuple[np.ndarray, float]:
    """The features (T, F) of one utterance and its seconds at its speed."""
    try:
        samples, sample_rate = read_audio(task.source, shard.expected_rate)
        matrix = extract(samples, sample_rate, shard.options, task.speed).numpy()
    except InputError as error:
        raise InputError(f"utterance {task.name}: {error}") from error
    return matrix, len(samples) / sample_rate / task.speed


def _write_tables(output: Path, shards: list[Shard], results: list[ShardResult], cmvn: bool) -> None:
    """Write what Kaldi expects of a directory with features, feats.scp last."""
    frames = {name: count for result in results for name, _, count, _ in result.entries}
    durations = {name: f"{seconds:.4f}" for result in results for name, _, _, seconds in result.entries}
    locations = {
        name: f"{os.path.abspath(shard.ark)}:{offset}"
        for shard, result in zip(shards, results)
        for name, offset, _, _ in result.entries
    }
    write_table(output / "utt2num_frames", frames)
    write_table(output / "utt2dur", durations)
    write_table(
        output / sums.FILE, {entry[0]: one for result in results for entry, one in zip(result.entries, result.sums)}
    )
    if cmvn:
        write_cmvn(output / "cmvn.ark", _statistics(results, shards[0].options))
    write_table(output / "feats.scp", locations)


def _statistics(results: Sequence[ShardResult], options: FeaturesOptions) -> np.ndarray:
    """CMVN statistics of all shards."""
    stats: np.ndarray = np.sum([result.stats for result in results], axis=0)
    if isinstance(options, SampleOptions):
        stats[:, :-1] = stats[:, :-1].mean(axis=1, keepdims=True)  # a sample's place in its frame means nothing
    return stats


def require_statistics(directory: Path) -> None:
    """Compare cmvn.ark with the records of the shards, where they are, which hold it in parts.

    Raises:
        InputError: it is damaged, or somebody else's.
    """
    path = directory / "cmvn.ark"
    if not path.exists():
        return  # whoever reads it says so
    records = sorted((directory / ".shards").glob("*.json"), key=lambda record: int(record.stem))
    if not records:
        return
    try:
        results = [ShardResult(**json.loads(record.read_text(encoding="utf-8"))) for record in records]
        with tempfile.TemporaryDirectory() as folder:
            expected = Path(folder) / path.name
            write_cmvn(expected, _statistics(results, read_options(directory)))
            same = path.read_bytes() == expected.read_bytes()
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{directory / '.shards'}: damaged; `dualtk features` makes it again: {error}") from error
    if not same:
        raise InputError(
            f"{path}: is not the sum of its features: damaged, or replaced; remove it, and run `dualtk features` again"
        )


def _remove_others(output: Path, shards: list[Shard]) -> None:
    """Remove archives and records of an earlier cut into more shards."""
    kept = {path for shard in shards for path in (shard.ark, shard.record)}
    for path in [*output.glob("feats.*.ark"), *output.glob(".shards/*.json")]:
        if path not in kept:
            path.unlink()
