"""The parts that stage 1 makes features in: each an archive, or what is known of audio that stays audio, and a record.

T frames, F features.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dualtk.checksums import file_digest
from dualtk.data import sums
from dualtk.data.audio import count_samples, read_audio
from dualtk.data.bad import require_few
from dualtk.data.kaldi import AudioSource
from dualtk.data.kinds import FeaturesOptions, count_frames, extract
from dualtk.data.storage import decoded, encoded
from dualtk.errors import InputError
from dualtk.files import atomic_path, write_text


@dataclass(frozen=True)
class Task:
    """One utterance to extract: its name, where its audio is, and at what speed it is played."""

    name: str
    source: AudioSource
    speed: float


@dataclass(frozen=True)
class Shard:
    """Some utterances of a set.

    Attributes:
        directory: where all is written.
        number: from 1; the archive is `feats.<number>.ark`.
        tasks: the utterances.
        options: of the features.
        expected_rate: of the audio in Hz; None: any.
        key: a digest of all that decides the archive's bytes.
        measured: utterances that mean and variance are taken from; None: all, which are stored.
        max_bad: utterances that may be left out, for they cannot be read.
    """

    directory: Path
    number: int
    tasks: tuple[Task, ...]
    options: FeaturesOptions
    expected_rate: int | None
    key: str
    measured: frozenset[str] | None = None
    max_bad: int = 0

    @property
    def is_stored(self) -> bool:
        """Whether there is an archive."""
        return self.measured is None

    @property
    def ark(self) -> Path:
        """The archive."""
        return self.directory / f"feats.{self.number}.ark"

    @property
    def record(self) -> Path:
        """What is known of the finished shard."""
        return self.directory / ".shards" / f"{self.number}.json"


@dataclass(frozen=True)
class ShardResult:
    """What is known of a finished shard: (name, byte offset, frames, seconds) per utterance, and CMVN statistics.

    `key` tells what it was made from, `digest` what its archive holds, `sums` each matrix of it (`dualtk.data.sums`),
    `bad` which utterances could not be read, and why.
    """

    key: str
    digest: str
    entries: list[tuple[str, int, int, float]]
    sums: list[str]
    stats: list[list[float]]
    bad: dict[str, str] = field(default_factory=dict)


def finished(shard: Shard) -> ShardResult | None:
    """The record of a shard that was made from the same inputs, or None."""
    try:
        result = ShardResult(**json.loads(shard.record.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return result if result.key == shard.key and (shard.ark.is_file() or not shard.is_stored) else None


def extract_shard(shard: Shard) -> Generator[int, None, None]:
    """Write one archive, where there is to be one, and then its record; yields 1 per utterance done."""
    shard.record.unlink(missing_ok=True)
    work = _Work(shard)
    if not shard.is_stored:
        yield from work.all(None)
    else:
        with atomic_path(shard.ark) as temporary, temporary.open("wb") as stream:
            yield from work.all(stream)
            stream.flush()
            os.fsync(stream.fileno())  # the record must never outlive the archive it describes
    digest = file_digest(shard.ark) if shard.is_stored else ""
    result = ShardResult(shard.key, digest, work.entries, work.crcs, work.stats.tolist(), work.bad)
    write_text(shard.record, json.dumps(asdict(result)))


class _Work:
    """What a shard comes to, utterance by utterance."""

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        self.entries: list[tuple[str, int, int, float]] = []
        self.crcs: list[str] = []
        self.bad: dict[str, str] = {}
        self.stats = np.zeros((2, shard.options.dim + 1))

    def all(self, stream: BinaryIO | None) -> Generator[int, None, None]:
        """Every utterance; their features go to `stream`."""
        for task in self.shard.tasks:
            try:
                self.one(task, stream)
            except InputError as error:
                self.bad[task.name] = str(error)
                require_few(self.bad, self.shard.max_bad, self.shard.directory)
            yield 1

    def one(self, task: Task, stream: BinaryIO | None) -> None:
        """An utterance."""
        if stream is None and task.name not in (self.shard.measured or ()):
            count, rate = count_samples(task.source, self.shard.expected_rate)
            frames = count_frames(count, rate, self.shard.options, task.speed)
            self.entries.append((task.name, 0, frames, count / rate / task.speed))
            return
        content, duration = features_of(task, self.shard)
        matrix, offset = decoded(content), 0
        if stream is not None:
            stream.write(f"{task.name} ".encode())
            offset = stream.tell()
            stream.write(content)
            self.crcs.append(sums.checksum(matrix))
        self.entries.append((task.name, offset, len(matrix), duration))
        self.stats[0, :-1] += matrix.sum(axis=0, dtype=np.float64)
        self.stats[1, :-1] += np.square(matrix, dtype=np.float64).sum(axis=0)
        self.stats[0, -1] += len(matrix)


def features_of(task: Task, shard: Shard) -> tuple[bytes, float]:
    """The features (T, F) of one utterance as they are stored, and its seconds at its speed.

    Raises:
        InputError: the audio cannot be read, or is too short; does not name the utterance.
    """
    samples, sample_rate = read_audio(task.source, shard.expected_rate)
    matrix = extract(samples, sample_rate, shard.options, task.speed).numpy()
    storage = shard.options.storage if shard.is_stored else "float32"
    return encoded(matrix, storage), len(samples) / sample_rate / task.speed
