"""Feature extraction: audio to archives in a directory of their own, by several processes, resumable at any moment.

Utterances are cut into shards. A shard is an archive and a `.shards/N.json` that carries a digest of what it was made
from, contents of audio included, and one of the archive; both appear whole or not at all, so a killed run keeps its
finished shards and the tables are written last. A training set whose features are made of its audio in training has the
same tables but feats.scp, and no archives: lengths come from the headers, mean and variance from a sample.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from dualtk.data import contents, sums
from dualtk.data.arks import read_matrix, write_cmvn
from dualtk.data.audio import fetch
from dualtk.data.bad import require_few, write_bad
from dualtk.data.companions import claim, read_companions, write_companions
from dualtk.data.contents import Digests, file_state
from dualtk.data.feature_shards import Shard, ShardResult, Task, extract_shard, features_of, finished
from dualtk.data.kaldi import AudioSource, read_audio_sources, set_name
from dualtk.data.kinds import FeaturesOptions, frame_fields, read_options, write_options
from dualtk.data.processes import run_jobs
from dualtk.data.reading import Reading
from dualtk.data.samples import SampleOptions
from dualtk.data.speeds import perturbed
from dualtk.data.storage import COARSEST, Source, decoded, set_suffix
from dualtk.errors import InputError
from dualtk.files import Done, digest
from dualtk.tables import write_table

SHARD_UTTERANCES = 1000  # what a kill can cost one process: some 15 seconds of work
MIN_SHARDS = 16  # so that a small corpus keeps as many processes busy
DONE = ".features.done"
SAME = 1e-3  # by which another machine's arithmetic may change a feature


@dataclass(frozen=True)
class SetPart:
    """Every `of`-th shard of a set, the first of them `number` (from 1)."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


@dataclass(frozen=True)
class Extraction:
    """What `extract_set` did.

    Attributes:
        extracted: utterances that were looked at, of `total`.
        tables: whether tables were written.
        measured: utterances that mean and variance come from, where not all are stored.
        part: of the set, where that was all that was asked for.
        bad: those that were left out, with the reason of each.
    """

    extracted: int
    total: int
    tables: bool
    measured: int | None = None
    part: SetPart | None = None
    bad: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.tables

    def __str__(self) -> str:
        if self.part is not None:
            return f"part {self.part}, {self.extracted} of {self.total} utterances"
        sample = "" if self.measured is None else f", mean and variance of {self.measured} of {self.total} utterances"
        if not self.tables:
            return f"unchanged{sample}"
        if self.extracted in (0, self.total):
            return ("written" if self.extracted else "unchanged, tables written") + sample
        return f"written, {self.extracted} of {self.total} utterances{sample}"


def set_folder(directory: Path, out: Path, speeds: Sequence[float] = (1.0,), source: Source = "stored") -> Path:
    """Where below `out` the features of a data directory go: under its own name, with what `set_suffix` adds."""
    return out / f"{set_name(directory)}{set_suffix(speeds, source)}"


def require_folders(sets: Iterable[tuple[Path, Sequence[float], Source]], out: Path) -> None:
    """Refuse data directories, each with its speeds and source, of which two would share a folder (see `set_folder`).

    Raises:
        InputError: names both.
    """
    folders: dict[Path, Path] = {}
    for directory, speeds, source in sets:
        folder = set_folder(directory, out, speeds, source)
        other = folders.setdefault(folder, directory)
        if other.resolve() != directory.resolve():
            raise InputError(f"{other} and {directory} have the same name: the features of both would go to {folder}")


def extract_set(
    directory: Path,
    out: Path,
    options: FeaturesOptions,
    *,
    speeds: Sequence[float] = (1.0,),
    source: Source = "stored",
    cmvn: bool = False,
    num_jobs: int = 1,
    expected_rate: int | None = None,
    channel: int | None = None,
    max_bad: int = 0,
    part: SetPart | None = None,
    progress: bool = True,
) -> Extraction:
    """Make a data directory with features (where `set_folder` says) out of one with audio, which is only read.

    Args:
        directory: wav.scp, utt2spk and, where they exist, segments, text and words.ctm; see `read_companions`.
        out: the folder of directories with such features, apart from the user's data.
        options: of the features; their speeds and source are for training sets, and not looked at here.
        speeds: playing speeds; every utterance is extracted at each.
        source: `audio` stores no features: those of `options.cmvn_utterances` are made, for mean and variance.
        cmvn: also sum up mean and variance over all frames.
        num_jobs: processes, one thread each; the files do not depend on how many.
        expected_rate: refuse audio of another sample rate (Hz) instead of resampling it.
        channel: of recordings with several, from 0, where the directory says none.
        max_bad: utterances that are left out where they cannot be read; one more is an error.
        part: some of the shards, and no tables: those a call without it writes, when all shards are there.
        progress: show a bar.

    Returns:
        What had to be written.

    Raises:
        InputError: an utterance and its file at fault (finished shards are kept for the next attempt), or a folder that
            was made from another data directory.
    """
    output = set_folder(directory, out, speeds, source)
    absent: dict[str, str] = {}
    tasks = _list_tasks(directory, speeds, channel, absent if max_bad else None)
    require_few(absent, max_bad, directory)
    companions = read_companions(directory, speeds, channel)
    claim(output, directory)
    whole = Shard(output, 0, tuple(tasks), options, expected_rate, "", max_bad=max_bad)
    if source == "audio":
        whole = replace(whole, measured=_drawn(tasks, options.cmvn_utterances))
    digests, of_parts = _digests(output, part)
    shards = _keyed(_cut(whole, part), digests, num_jobs)
    waiting = _unfinished(shards, digests)
    if waiting or not _has_tables(output, cmvn, source):
        _withdraw_tables(output)
    extracted = sum(len(shard.tasks) for shard in waiting)
    run_jobs(extract_shard, waiting, num_jobs, extracted, progress, str(output))
    results = _results(shards, digests)
    if part is not None:
        return Extraction(extracted, len(tasks), tables=False, part=part)
    bad = absent | {name: reason for result in results for name, reason in result.bad.items()}
    require_few(bad, max_bad, directory, len(tasks) + len(absent))
    if bad:
        companions = read_companions(directory, speeds, channel, without=bad)
    measured = None if whole.measured is None else len(whole.measured - bad.keys())
    done, key = Done(output / DONE), digest([], [os.path.abspath(output), [shard.key for shard in shards], companions])
    if done.matches(key):
        return Extraction(0, len(tasks), tables=False, measured=measured, bad=bad)
    _withdraw_tables(output)
    write_companions(output, companions)
    write_options(output, options)
    write_bad(output, bad)
    _write_tables(output, shards, results, cmvn)
    _remove_others(output, shards)
    for path in of_parts:
        path.unlink(missing_ok=True)
    done.write(key)
    return Extraction(extracted, len(tasks), tables=True, measured=measured, bad=bad)


def _digests(output: Path, part: SetPart | None) -> tuple[Digests, list[Path]]:
    """What is known of files of audio and archives, and the files in which parts of the set noted it."""
    of_parts = sorted(output.glob(f"{contents.FILE}-*"))
    name = contents.FILE if part is None else f"{contents.FILE}-{part.number}"
    return Digests(output / name, *of_parts), of_parts


def _withdraw_tables(output: Path) -> None:
    """Remove what names archives: it must never speak of those that are being replaced."""
    Done(output / DONE).clear()
    for name in ("feats.scp", "cmvn.ark"):
        (output / name).unlink(missing_ok=True)


def _results(shards: Sequence[Shard], digests: Digests) -> list[ShardResult]:
    """Those of shards that are all finished; their archives are known from now on."""
    results = [result for shard in shards if (result := finished(shard)) is not None]
    assert len(results) == len(shards)
    for shard, result in zip(shards, results):
        if shard.is_stored:
            digests.learn(shard.ark, result.digest)
    digests.save()
    return results


def _has_tables(output: Path, cmvn: bool, source: Source) -> bool:
    return (source == "audio" or (output / "feats.scp").exists()) and (not cmvn or (output / "cmvn.ark").exists())


def _list_tasks(
    directory: Path, speeds: Sequence[float], channel: int | None, absent: dict[str, str] | None
) -> list[Task]:
    """Every utterance at every speed, in the order of their names; `absent` gets those without audio, if it may."""
    missing: dict[str, str] | None = None if absent is None else {}
    sources = read_audio_sources(directory, channel, missing)
    if absent is not None and missing is not None:
        absent |= {perturbed(name, speed): reason for name, reason in missing.items() for speed in speeds}
    if not sources:
        raise InputError(f"{directory / 'wav.scp'}: lists no utterances")
    tasks = [Task(perturbed(name, speed), source, speed) for name, source in sources.items() for speed in speeds]
    return sorted(tasks, key=lambda task: task.name)


def _drawn(tasks: Sequence[Task], count: int) -> frozenset[str]:
    """The names of so many of the utterances, which follow from their number alone."""
    order = np.random.default_rng(0).permutation(len(tasks))[:count]
    return frozenset(tasks[index].name for index in order.tolist())


def _states(shards: Sequence[Shard], digests: Digests, num_threads: int) -> dict[Path, str]:
    """What tells whether each file of audio is what it was: what it holds; where all of it stays audio, and is not read
    through here, its size and times. A file that cannot be read says so when it is to be extracted, if it may."""

    def of(source: AudioSource) -> str:
        path = source.path
        try:
            fetch(source)
            return digests.of(path) if shards[0].is_stored else file_state(path)
        except InputError as error:
            if not shards[0].max_bad:
                raise
            return str(error)

    sources = {task.source.path: task.source for shard in shards for task in shard.tasks}
    with ThreadPoolExecutor(num_threads) as pool:
        return dict(zip(sources, pool.map(of, sources.values())))


def _cut(whole: Shard, set_part: SetPart | None) -> list[Shard]:
    """The tasks of a set, evenly in shards, whatever the number of processes, or a part of these; their keys are not
    known yet."""
    tasks = whole.tasks
    count = min(len(tasks), max(MIN_SHARDS, -(-len(tasks) // SHARD_UTTERANCES)))
    shards = []
    for number in range(count):
        part = tasks[number * len(tasks) // count : (number + 1) * len(tasks) // count]
        measured = None if whole.measured is None else whole.measured.intersection(task.name for task in part)
        shards.append(replace(whole, number=number + 1, tasks=part, measured=measured))
    return shards if set_part is None else shards[set_part.number - 1 :: set_part.of]


def _keyed(shards: Sequence[Shard], digests: Digests, num_threads: int) -> list[Shard]:
    """The shards with their keys."""
    if not shards:
        return []
    audio = _states(shards, digests, num_threads)
    digests.save()
    keyed = []
    for shard in shards:
        fields = frame_fields(shard.options)
        if shard.is_stored and shard.options.storage != "float32":
            fields["storage"] = shard.options.storage
        what = [[task.name, audio[task.source.path], *_part(task.source), task.speed] for task in shard.tasks]
        drawn = [] if shard.measured is None else [sorted(shard.measured)]
        keyed.append(replace(shard, key=digest([], [fields, shard.expected_rate, what, *drawn])))
    return keyed


def _part(source: AudioSource) -> list[object]:
    """What an utterance is of its file, as it goes into the key of a shard."""
    return [source.start, source.end, *([] if source.reading == Reading() else [repr(source.reading)])]


def _unfinished(shards: list[Shard], digests: Digests) -> list[Shard]:
    """The shards to extract: all, where the code or a library that makes features makes others now."""
    results = {shard.number: finished(shard) for shard in shards}
    whole = [
        shard
        for shard in shards
        if (result := results[shard.number]) is not None
        and (not shard.is_stored or digests.of(shard.ark) == result.digest)
    ]
    if whole and not _made_today(whole[0]):
        return shards
    return [shard for shard in shards if shard not in whole]


def _made_today(shard: Shard) -> bool:
    """Whether the first utterance of a finished shard would have the same features if it were extracted now."""
    result = finished(shard)
    assert result is not None
    if not shard.is_stored or not result.entries:
        return True
    name, place = result.entries[0][:2]
    before = read_matrix(f"{shard.ark}:{place}", shard.directory)
    now = decoded(features_of(next(task for task in shard.tasks if task.name == name), shard)[0])
    step = max(SAME, COARSEST[shard.options.storage])
    return before.shape == now.shape and np.allclose(before, now, atol=step, rtol=SAME)


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
    if cmvn:
        write_cmvn(output / "cmvn.ark", _statistics(results, shards[0].options))
    if shards[0].is_stored:
        checksums = {entry[0]: one for result in results for entry, one in zip(result.entries, result.sums)}
        write_table(output / sums.FILE, checksums)
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
