"""Batches of utterances, decoded in this process or in several."""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from dualtk.bin.decoded import Decoded
from dualtk.bin.problems import about
from dualtk.bin.searching import search_options
from dualtk.data.batches import Batch, Example, UnreadError, collate
from dualtk.data.dataset import FeatureDataset
from dualtk.data.processes import end_workers, follow_parent
from dualtk.errors import InputError
from dualtk.modes import Mode
from dualtk.search.options import SearchOptions
from dualtk.search.word_times import timed_words
from dualtk.streaming.compiled_step import Precision
from dualtk.streaming.decoder import Decoder, Engine, open_decoder
from dualtk.trained import Trained, load


@dataclass(frozen=True)
class Setup:
    """What decodes, as the options of `dualtk decode` ask for."""

    trained: Trained
    mode: Mode
    search: SearchOptions
    precision: Precision
    engine: Engine
    is_aligned: bool

    @cached_property
    def decoder(self) -> Decoder:
        """Of the mode, on the network's device."""
        tokenizer = self.trained.tokenizer
        search = self.search.build(self.trained.network, tokenizer.pieces, tokenizer.encode)
        return open_decoder(self.trained.network, self.mode, search, self.precision, self.engine)

    def decode(self, dataset: FeatureDataset, indices: Sequence[int]) -> list[Decoded | UnreadError]:
        """The utterances of one batch, and those of it that cannot be read."""
        examples: list[Example] = []
        unread: list[UnreadError] = []
        for index in indices:
            try:
                examples.append(dataset[index])
            except UnreadError as error:
                unread.append(error)
        return [*unread, *(self._decode(dataset, collate(examples)) if examples else [])]

    def _decode(self, dataset: FeatureDataset, batch: Batch) -> list[Decoded]:
        longest = int(batch.feat_lengths.argmax())
        several = f", the longest of {len(batch.utterances)}" if len(batch.utterances) > 1 else ""
        frames = f"({batch.feat_lengths[longest]} frames{several})"
        with about(f"{dataset.directory}: mode {self.mode.name}: utterance {batch.utterances[longest]} {frames}"):
            hypotheses = self.decoder.decode(batch.feats, batch.feat_lengths)
        found = map(Decoded, batch.utterances, batch.feat_lengths.tolist(), hypotheses)
        if not self.is_aligned:
            return list(found)
        return [self._align(one, feats[: one.num_frames]) for one, feats in zip(found, batch.feats)]

    def _align(self, decoded: Decoded, feats: Tensor) -> Decoded:
        """With the times of its words; feats (T, F)."""
        pieces = self.trained.tokenizer.pieces
        return replace(decoded, aligned=timed_words(self.trained.network, self.mode, feats, decoded.nbest[0], pieces))


def set_up(options: argparse.Namespace, device: torch.device) -> Setup:
    """Load the network.

    Raises:
        InputError: alignments are asked for, and the network has no head that gives them.
    """
    trained = load(options.exp, options.tokens)
    trained.network.to(device)
    if options.word_times and trained.network.ctc is None:
        raise InputError(f"--word-times: the network of {options.exp} has no CTC head (section ctc) that aligns words")
    mode, search = trained.mode(options.mode), search_options(options)
    return Setup(trained, mode, search, options.precision, options.engine, options.word_times)


Read = Callable[[argparse.Namespace, Trained], FeatureDataset]
_worker: tuple[Setup, FeatureDataset] | None = None  # of this process


def _start(options: argparse.Namespace, kind: str, read: Read) -> None:
    global _worker
    torch.set_num_threads(1)
    follow_parent()
    number = multiprocessing.current_process()._identity[-1] - 1
    device = f"{kind}:{number % torch.cuda.device_count()}" if kind == "cuda" else kind
    setup = set_up(options, torch.device(device))
    _worker = setup, read(options, setup.trained)


def _decode(indices: Sequence[int]) -> list[Decoded | UnreadError]:
    assert _worker is not None
    setup, dataset = _worker
    return setup.decode(dataset, indices)


def decode_apart(
    options: argparse.Namespace, device: torch.device, read: Read, batches: Sequence[Sequence[int]]
) -> Iterator[Decoded | UnreadError]:
    """The utterances of `batches`, by `--nj` processes of one thread each, on all GPUs there are where `device` is one.

    The batches are those of one process, so the results are too.

    Raises:
        InputError: a process was killed.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    try:
        with ProcessPoolExecutor(
            min(options.nj, max(1, len(batches))), context, _start, (options, device.type, read)
        ) as pool:
            try:
                for decoded in pool.map(_decode, batches):
                    yield from decoded
            except KeyboardInterrupt:
                end_workers()
                raise
    except BrokenProcessPool as error:
        raise InputError("a decoding process was killed (out of memory?)") from error
