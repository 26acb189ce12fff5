"""A training set that is another in every epoch: audio changed on the fly, utterances joined.

What an epoch holds follows from (seed, epoch) alone, and what becomes of an utterance from (seed, epoch, its name):
neither the number of workers nor where a run was stopped and continued changes anything.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from dualtk.data.audio import read_audio
from dualtk.data.batches import Example, UnreadError
from dualtk.data.dataset import FeatureDataset
from dualtk.data.joining import JoiningOptions, Part, join_at_random, join_features
from dualtk.data.kaldi import AudioSource, audio_source, read_audio_sources
from dualtk.data.kinds import FILE, FeaturesOptions, require_features
from dualtk.data.recordings import RecordingError
from dualtk.data.sampler import BatchesOptions
from dualtk.data.selection import location_table
from dualtk.data.waveform import WaveformOptions
from dualtk.data.windows import ShardList
from dualtk.errors import InputError
from dualtk.frames import FRAME_SECONDS

EPOCH, PAUSES = 1, 2  # what a generator is for


@dataclass(frozen=True)
class Draw:
    """What training reads as one utterance: utterances with pauses between them, or one.

    Attributes:
        seed, epoch: of all draws for it.
        parts: in their order.
    """

    seed: int
    epoch: int
    parts: tuple[Part, ...]


class Draws(Sequence[Draw]):
    """What an epoch reads; where nothing is joined, without a Python object for each utterance.

    Args:
        seed, epoch: of all draws.
        speeds: of each utterance.
        groups: of utterances that are joined, and those that are not; None: each is read alone.
    """

    def __init__(self, seed: int, epoch: int, speeds: np.ndarray, groups: list[tuple[Part, ...]] | None) -> None:
        self.seed, self.epoch, self.speeds, self.groups = seed, epoch, speeds, groups

    def __len__(self) -> int:
        return len(self.speeds) if self.groups is None else len(self.groups)

    @overload
    def __getitem__(self, index: int) -> Draw: ...
    @overload
    def __getitem__(self, index: slice) -> list[Draw]: ...
    def __getitem__(self, index: int | slice) -> Draw | list[Draw]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        if self.groups is not None:
            return Draw(self.seed, self.epoch, self.groups[index])
        part = Part(range(len(self))[index], float(self.speeds[index]))
        return Draw(self.seed, self.epoch, (part,))

    def first(self) -> NDArray[np.int64]:
        """The first utterance of each."""
        if self.groups is None:
            return np.arange(len(self.speeds))
        return np.array([group[0].index for group in self.groups], np.int64)


@dataclass(frozen=True)
class Variation:
    """How a training set varies.

    Attributes:
        shortest: feature frames that any utterance has at least.
        longest: feature frames that any has at most, joined ones too.
        speeds: that are drawn from.
        speeds_from: first epoch in which they are.
        joining: how utterances are joined, if at all.
        shards: in which each utterance is, where they are read shard by shard; those of one shard are joined.
    """

    shortest: int
    longest: int
    speeds: tuple[float, ...] = (1.0,)
    speeds_from: int = 0
    joining: JoiningOptions | None = None
    shards: ShardList | None = None

    def draws(self, lengths: np.ndarray, seed: int, epoch: int) -> tuple[Draws, NDArray[np.int64]]:
        """What an epoch reads of utterances of `lengths` feature frames, and the most frames that each has then."""
        random = np.random.default_rng((seed, epoch, EPOCH))
        speeds = np.ones(len(lengths))
        if epoch >= self.speeds_from and self.speeds != (1.0,):
            drawn = random.choice(np.asarray(self.speeds), len(lengths))
            fits = (lengths / drawn >= self.shortest + 1) & (lengths / drawn <= self.longest - 1)
            speeds = np.where(fits, drawn, 1.0)
        # Resampling rounds up, and so may the number of frames.
        played = np.where(speeds == 1.0, lengths, np.ceil(lengths / speeds).astype(np.int64) + 1)
        if self.joining is None or epoch < self.joining.start_epoch:
            return Draws(seed, epoch, speeds, None), played.astype(np.int64)
        shard_of = None if self.shards is None else self.shards.of_utterance
        groups = join_at_random(played, speeds, self.longest, self.joining, random, shard_of)
        sizes = [sum(int(played[part.index]) + part.pause for part in group) for group in groups]
        return Draws(seed, epoch, speeds, groups), np.array(sizes, np.int64)


class DrawnBatches(Sampler[list[Draw]]):
    """Batches of what each epoch reads, bucketed by the lengths that it has there; see `BucketedBatches`.

    Args:
        lengths: feature frames of every utterance of the set.
        variation: what an epoch makes of them.
        options: how they become batches.
        seed: of what is drawn, and of the order.
        rank, world_size: this process and how many share the epoch.
    """

    def __init__(
        self,
        lengths: Sequence[int] | NDArray[np.int64],
        variation: Variation,
        options: BatchesOptions,
        *,
        seed: int,
        rank: int,
        world_size: int,
    ) -> None:
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.variation, self.options, self.seed = variation, options, seed
        self.rank, self.world_size = rank, world_size
        self.start(0)

    def start(self, epoch: int, batch: int = 0, processes: int = 0) -> None:
        """See `BucketedBatches.start`."""
        self.draws, sizes = self.variation.draws(self.lengths, self.seed, epoch)
        shards = self.variation.shards
        if shards is not None:
            shards = replace(shards, of_utterance=shards.of_utterance[self.draws.first()])
        place = {"rank": self.rank, "world_size": self.world_size}
        self.order = self.options.build(sizes, shuffle=True, seed=self.seed, **place, shards=shards)
        self.order.start(epoch, batch, processes)

    def share(self, index: int) -> float:
        """See `BucketedBatches.share`."""
        return self.order.share(index)

    def __len__(self) -> int:
        """Batches of each rank in the epoch."""
        return len(self.order)

    def __iter__(self) -> Iterator[list[Draw]]:
        return ([self.draws[index] for index in indices] for indices in self.order)


class SpokenUtterances:
    """The audio of a set that `dualtk features` went through, and from it features, changed or not.

    Args:
        stored: the set; its features, if there are any, are not read.
        options: what is changed.
        features: that are made; those of the set must be such.
        cache: read all audio into memory once.

    Raises:
        InputError: features of another kind, an utterance without audio, or recordings that are not there.
    """

    def __init__(
        self, stored: FeatureDataset, options: WaveformOptions, features: FeaturesOptions, *, cache: bool
    ) -> None:
        directory = stored.directory
        if not (directory / FILE).exists() or not (directory / "wav.scp").exists():
            raise InputError(
                f"{directory}: `waveform` makes features of audio, and this directory is not one that "
                "`dualtk features` made of audio at the speed 1.0"
            )
        require_features(directory, features)
        self.make = options.build(features)
        self.start_epoch = options.start_epoch
        self.entries, self.directory = stored.entries, directory
        self.sources = _sources(stored)
        self.cached = [self._audio_or_fault(index) for index in range(len(self.entries))] if cache else None

    def _audio_or_fault(self, index: int) -> tuple[Tensor, int] | InputError:
        """The samples of an utterance, and their rate."""
        entry = self.entries[index]
        try:
            if self.sources is not None:
                return read_audio(self.sources[entry.name])
            return read_audio(audio_source(entry.location, self.directory))
        except InputError as error:
            return error

    def __call__(self, index: int, speed: float, seed: int, epoch: int) -> Tensor:
        """The features (T, F) of an utterance in an epoch.

        Raises:
            UnreadError: its audio cannot be read.
            RecordingError: what is mixed into it cannot be read.
        """
        name = self.entries[index].name
        random = np.random.default_rng((seed, epoch, zlib.crc32(name.encode())))
        audio = self.cached[index] if self.cached is not None else self._audio_or_fault(index)
        try:
            if isinstance(audio, InputError):
                raise audio
            samples, rate = audio
            return self.make(samples, rate, speed, random if epoch >= self.start_epoch else None)
        except RecordingError:
            raise
        except InputError as error:
            raise UnreadError(name, f"utterance {name}: {error}") from error


def _sources(listed: FeatureDataset) -> dict[str, AudioSource] | None:
    """The audio of every utterance; None where they are many and each says for itself where it is.

    Raises:
        InputError: an utterance without audio, or recordings that are not there.
    """
    directory = listed.directory
    is_many = listed.is_large or listed.shards is not None
    if is_many and not listed.is_stored and location_table(directory, "audio").name == "wav.scp":
        return None
    sources = read_audio_sources(directory)
    for entry in listed.entries:
        if entry.name not in sources:
            raise InputError(f"{directory / 'wav.scp'}: has no audio of utterance {entry.name}")
    return sources


class VariedOptions(Protocol):
    """The sections that decide what an epoch reads."""

    @property
    def features(self) -> FeaturesOptions:
        """Of the features, stored or made."""
        ...

    @property
    def batches(self) -> BatchesOptions:
        """How utterances become batches."""
        ...

    @property
    def waveform(self) -> WaveformOptions | None:
        """What is done to audio; None: stored features are read."""
        ...

    @property
    def joining(self) -> JoiningOptions | None:
        """How utterances are joined; None: they are not."""
        ...


class DrawnUtterances(Dataset[Example]):
    """The utterances of a set as each epoch has them, by `Draw`.

    Args:
        stored: the set as it is on disk.
        options: how it varies.
        shortest: feature frames that any utterance has at least.

    Raises:
        InputError: as `SpokenUtterances`.
    """

    def __init__(self, stored: FeatureDataset, options: VariedOptions, shortest: int) -> None:
        self.stored, self.dim, self.kind = stored, stored.dim, options.features.kind
        longest = min(options.batches.max_utterance_frames, max(options.batches.max_frames, int(stored.lengths.max())))
        self.variation = Variation(shortest, longest, joining=options.joining, shards=stored.shards)
        self.spoken: SpokenUtterances | None = None
        waveform = options.waveform
        if waveform is None and not stored.is_stored:
            waveform = WaveformOptions()  # which changes nothing
        if waveform is not None:
            self.variation = replace(self.variation, speeds=waveform.speeds, speeds_from=waveform.start_epoch)
            self.spoken = SpokenUtterances(stored, waveform, options.features, cache=options.batches.cache)

    def __len__(self) -> int:
        """Utterances, before any are joined."""
        return len(self.stored)

    def batches(self, options: BatchesOptions, *, seed: int, rank: int, world_size: int) -> DrawnBatches:
        """The batches of training; see `DrawnBatches`."""
        return DrawnBatches(self.stored.lengths, self.variation, options, seed=seed, rank=rank, world_size=world_size)

    def describe(self, seed: int) -> list[str]:
        """What is joined, in a line, where anything is to be: with too short limits nothing would be."""
        if (joining := self.variation.joining) is None or joining.probability == 0.0:
            return []
        draws, sizes = self.variation.draws(np.asarray(self.stored.lengths), seed, joining.start_epoch)
        joined = sum(len(draw.parts) > 1 for draw in draws)
        if not joined:
            return ["joining: no two utterances fit into batches.max_utterance_frames and batches.max_frames"]
        longest = max(sizes) * FRAME_SECONDS
        return [
            f"joining: epoch {joining.start_epoch} reads {len(self)} utterances as {len(draws)}, {joined} of them "
            f"joined; the longest lasts {longest:.1f} s"
        ]

    def instead(self, item: Draw) -> Iterator[Draw]:
        """See `TrainingSet.instead`."""
        others = self.stored.instead(item.parts[0].index)
        return (replace(item, parts=(Part(index, 1.0),)) for index in others)

    def __getitem__(self, draw: Draw) -> Example:
        """What is read as one utterance, without those of its parts that cannot be read.

        Raises:
            UnreadError: that is all of them.
        """
        examples, pauses, unread = [], [], []
        for part in draw.parts:
            try:
                examples.append(self._part(part, draw))
                pauses.append(part.pause)
            except UnreadError as error:
                unread.append(error)
        if not examples:
            raise unread[0]
        if len(examples) == 1:
            return replace(examples[0], unread=tuple(unread))
        name = "+".join(example.name for example in examples)
        random = np.random.default_rng((draw.seed, draw.epoch, zlib.crc32(name.encode()), PAUSES))
        feats = join_features([example.feats for example in examples], pauses, self.kind, random)
        return Example(name, feats, torch.cat([example.targets for example in examples]), tuple(unread))

    def _part(self, part: Part, draw: Draw) -> Example:
        if self.spoken is None:
            return self.stored[part.index]
        entry = self.stored.entries[part.index]
        feats = self.spoken(part.index, part.speed, draw.seed, draw.epoch)
        return Example(entry.name, feats, torch.tensor(entry.targets, dtype=torch.int64))
