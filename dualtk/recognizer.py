"""Audio to text with a trained network: recordings of any length, as they come or whole, in one pass or two."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dualtk.data.audio import check_piece
from dualtk.data.kinds import open_stream, read_options, require_features
from dualtk.data.live import Piece, file_pieces
from dualtk.data.samples import SampleOptions
from dualtk.errors import InputError
from dualtk.frames import FRAME_SECONDS
from dualtk.modes import Mode
from dualtk.search.greedy import Search
from dualtk.search.hypothesis import Hypothesis
from dualtk.search.options import SearchOptions
from dualtk.search.whole import WholeDecoder
from dualtk.search.word_times import timed_words
from dualtk.streaming.compiled_step import Precision
from dualtk.streaming.decoder import Engine, open_decoder
from dualtk.streaming.endpoint import EndpointOptions
from dualtk.streaming.recording import Passes, Recording, Utterance
from dualtk.streaming.session import StreamingDecoder
from dualtk.trained import Trained
from dualtk.trained import load as load_trained
from dualtk.transcript import Result, Segment

TWO_PASS = "two-pass"
PIECE_SECONDS = 10.0  # of audio that is worked on at once: bounds the memory that a long array takes

Samples = NDArray[np.floating] | NDArray[np.int16] | Tensor


class Stream:
    """Audio that is still coming in; opened by `Recognizer.stream`. One thread at a time may use it."""

    def __init__(self, recognizer: Recognizer, mode: str, passes: Passes) -> None:
        self.recognizer = recognizer
        self.mode = mode
        self.audio_seconds = 0.0
        self._passes = passes
        self._recording = Recording(self._passes)
        self._front_end = open_stream(recognizer.trained.system.features)
        self._rate: int | None = None
        self._segments: list[Segment] = []  # that nobody took yet

    def accept(self, samples: Samples, rate: int) -> None:
        """More audio, in pieces of any size; it is decoded before this returns.

        Args:
            samples: (N,), or (N, C) of which the channels are averaged; floats in [-1, 1] or 16-bit integers.
            rate: in Hz.

        Raises:
            InputError: samples that are no numbers, a rate below 4 kHz or other than before; the stream goes on.
        """
        for piece in self._checked(samples, rate):
            self._recording.push(self._front_end.accept(piece, rate))
            self._passes.advance([self._recording])
            self._collect()

    def push(self, samples: Samples, rate: int) -> None:
        """As `accept`, but nothing is decoded: `Recognizer.advance` does that."""
        for piece in self._checked(samples, rate):
            self._recording.push(self._front_end.accept(piece, rate))

    def _collect(self) -> None:
        """Of what is over only the words are kept, unless `take` is to have it."""
        if self._passes.later:
            return
        for segment in map(self.complete, self.take()):
            if segment.text or (segment.first_pass is not None and segment.first_pass.text):
                self._segments.append(segment)

    def take(self) -> list[Utterance]:
        """The utterances that are over since the last call, of a stream that was opened with `later`."""
        finished, self._recording.finished = self._recording.finished, []
        return finished

    def complete(self, utterance: Utterance) -> Segment:
        """What was said in an utterance of `take`, after its second pass where the mode has one. On any thread."""
        return self.recognizer.segment(self.mode, self._passes.complete(utterance))

    @property
    def is_behind(self) -> bool:
        """Whether there are steps that `Recognizer.advance` can take."""
        return self._recording.is_ready

    def close(self) -> None:
        """No more audio will come; `Recognizer.advance` decodes the rest."""
        self._recording.push(self._front_end.finish())
        self._recording.close()

    @property
    def decoded_seconds(self) -> float:
        """Of the audio, what has been decoded."""
        return self._recording.num_read * FRAME_SECONDS

    def _checked(self, samples: Samples, rate: int) -> Sequence[Tensor]:
        """Mono audio that goes on where the stream is, in pieces of bounded size."""
        mono = _mono(samples)
        check_piece(mono, rate, self._rate)
        self._rate = rate
        self.audio_seconds += len(mono) / rate
        return torch.split(mono, round(PIECE_SECONDS * rate))

    @property
    def partial(self) -> str:
        """The text since the last final segment; it may still change. Empty in full context."""
        best = self._recording.partial
        return "" if best is None else self.recognizer.trained.tokenizer.decode(best.tokens)

    def results(self) -> list[Segment]:
        """The segments that have become final since the last call."""
        segments, self._segments = self._segments, []
        return segments

    def finish(self) -> list[Segment]:
        """No more audio will come: the last segments."""
        self.close()
        self._passes.advance([self._recording])
        self._collect()
        return self.results()


class Recognizer:
    """A trained network, ready for audio. Any number of threads may use one at once, each with streams of its own.

    Args:
        trained: the network, on the device where it is to compute.
        search: how to search in every mode.
        endpoints: when an utterance of a recording is over.
        chunk_ms: milliseconds that are decided together in streaming; None: as trained.
        precision: arithmetic in streaming, see `open_decoder`; int8 needs a CPU and a bounded left context.
        engine: what computes in streaming, see `open_decoder`; onnxruntime needs the extra `export`, and what int8
            needs.
    """

    def __init__(
        self,
        trained: Trained,
        search: SearchOptions,
        endpoints: EndpointOptions,
        chunk_ms: int | None,
        precision: Precision,
        engine: Engine = "torch",
    ) -> None:
        self.trained = trained
        self.endpoints = endpoints
        self.chunk_ms = chunk_ms
        self.precision: Precision = precision
        self.engine: Engine = engine
        self._search_options = search
        self._models = search.read_models(trained.tokenizer.pieces, trained.network.feature_mean.device)
        self._search = self._build_search(())
        self._passes: dict[str, Passes] = {}
        self._lock = threading.Lock()

    def transcribe(self, audio: str | Path | Samples, mode: str = "streaming", *, rate: int | None = None) -> Result:
        """What is said in a recording of any length.

        Args:
            audio: an audio file, or samples as `Stream.accept` takes them.
            mode: one of the network's modes, or `two-pass`: streaming, then each utterance again in full context.
            rate: of samples, in Hz.

        Raises:
            InputError: audio that cannot be read, or no such mode.
        """
        stream, segments = self.stream(mode), []
        for samples, piece_rate in _pieces(audio, rate):
            stream.accept(samples, piece_rate)
            segments += stream.results()
        segments += stream.finish()
        return Result(mode, segments, stream.audio_seconds)

    def stream(self, mode: str = "streaming", *, hotwords: Sequence[str] = (), later: bool = False) -> Stream:
        """A new stream of audio.

        Args:
            mode: as those of `transcribe`.
            hotwords: `WORD [WORD ...] [:REWARD]`, words that this stream prefers beside those of the recogniser.
            later: utterances that are over wait, after their first pass, for `Stream.take` and `Stream.complete`, so
                that what takes long is not done while other streams wait.

        Raises:
            InputError: no such mode, or a hotword that the network has no tokens for.
        """
        passes = self.passes(mode)
        passes = passes.with_search(self._build_search(hotwords)) if hotwords else passes
        return Stream(self, mode, passes.with_second_later() if later else passes)

    def accept(self, streams: Sequence[Stream], samples: Sequence[Samples], rate: int) -> None:
        """More audio of several streams of this recogniser: their first passes take their steps together, which costs
        less than one after the other.

        Args:
            streams: each once.
            samples: of each; see `Stream.accept`.
            rate: of all, in Hz.
        """
        pieces = [stream._checked(own, rate) for stream, own in zip(streams, samples, strict=True)]
        for together in zip_longest(*pieces):
            own = [(stream, piece) for stream, piece in zip(streams, together) if piece is not None]
            for stream, piece in own:
                stream._recording.push(stream._front_end.accept(piece, rate))
            self.advance([stream for stream, _ in own])

    def advance(self, streams: Sequence[Stream], steps: int | None = None) -> None:
        """Decode what streams have of `Stream.push`, together.

        Args:
            streams: each once.
            steps: that each takes at most; None: all that it can. `Stream.is_behind` tells whether there are more.
        """
        groups: dict[int, list[Stream]] = {}
        for stream in streams:
            groups.setdefault(id(stream._passes.first), []).append(stream)
        for group in groups.values():
            group[0]._passes.advance([stream._recording for stream in group], steps)
            for stream in group:
                stream._collect()

    def of_whole_utterances(self) -> Recognizer:
        """One of the same network and search, language models shared, without what is for streaming alone."""
        other = copy.copy(self)
        other.chunk_ms, other.precision, other.engine = None, "float32", "torch"
        other._passes, other._lock = {}, threading.Lock()
        return other

    def _build_search(self, hotwords: Sequence[str]) -> Search[Any]:
        tokenizer = self.trained.tokenizer
        network, options = self.trained.network, self._search_options
        return options.build(network, tokenizer.pieces, tokenizer.encode, hotwords, self._models)

    def passes(self, mode: str) -> Passes:
        """How a mode, or `two-pass`, decodes; made at its first use.

        Raises:
            InputError: the network has no such mode, or it does not go with the recogniser's options.
        """
        with self._lock:
            if mode not in self._passes:
                self._passes[mode] = self._build(mode)
            return self._passes[mode]

    def _build(self, mode: str) -> Passes:
        network, trained = self.trained.network, self.trained
        is_log = not isinstance(trained.system.features, SampleOptions)
        first: StreamingDecoder[Any] | None
        if mode == TWO_PASS:  # the first is that of streaming itself: streams of both take their steps together
            second = WholeDecoder(network, trained.mode("full"), self._search)
            if "streaming" not in self._passes:
                self._passes["streaming"] = self._build("streaming")
            first = self._passes["streaming"].first
            return Passes(first, second, self.endpoints, is_log=is_log)
        own = with_chunk(trained.mode(mode), self.chunk_ms, network.encoder.subsampling)
        decoder = open_decoder(network, own, self._search, self.precision, self.engine)
        first, last = (decoder, None) if isinstance(decoder, StreamingDecoder) else (None, decoder)
        return Passes(first, last, self.endpoints, is_log=is_log)

    def segment(self, mode: str, utterance: Utterance) -> Segment:
        """What a mode says of an utterance."""
        passes = self.passes(mode)
        segment: Segment | None = None
        for decoder, hypothesis in ((passes.first, utterance.first), (passes.second, utterance.second)):
            if decoder is not None and hypothesis is not None:
                segment = replace(self._segment(decoder.mode, utterance, hypothesis), first_pass=segment)
        assert segment is not None
        return segment

    def _segment(self, mode: Mode, utterance: Utterance, hypothesis: Hypothesis) -> Segment:
        start, tokenizer = utterance.start * FRAME_SECONDS, self.trained.tokenizer
        words = timed_words(self.trained.network, mode, utterance.feats, hypothesis, tokenizer.pieces)
        shifted = [replace(word, start=start + word.start, end=start + word.end) for word in words]
        end = start + len(utterance.feats) * FRAME_SECONDS
        return Segment(mode.name, start, end, tokenizer.decode(hypothesis.tokens), shifted)


def load(
    path: str | Path,
    *,
    device: str = "cpu",
    precision: Precision = "float32",
    engine: Engine = "torch",
    chunk_ms: int | None = None,
    tokens: Path | None = None,
    search: SearchOptions | None = None,
    endpoints: EndpointOptions | None = None,
) -> Recognizer:
    """A trained network, ready for audio.

    Args:
        path: experiment folder, or a model folder that `dualtk pack` wrote, or the model.safetensors in one.
        device: where to compute, as torch names it.
        precision: arithmetic in streaming, see `open_decoder`; int8 needs a CPU and a bounded left context.
        engine: what computes in streaming, see `open_decoder`; onnxruntime needs the extra `export`, and what int8
            needs.
        chunk_ms: milliseconds that are decided together in streaming; None: as trained.
        tokens: folder of its tokens; None: `lang` in the folder.
        search: None: greedy.
        endpoints: when an utterance of a recording is over; None: by the rules' defaults.

    Raises:
        InputError: no trained network there, or one whose features cannot be made from audio here.
    """
    folder = Path(path).parent if Path(path).is_file() else Path(path)
    trained = load_trained(folder, tokens)
    read_options(folder)  # it has none where features were made elsewhere, which audio cannot be made into here
    require_features(folder, trained.system.features)
    trained.network.to(_device(device))
    return Recognizer(trained, search or SearchOptions(), endpoints or EndpointOptions(), chunk_ms, precision, engine)


def _device(name: str) -> torch.device:
    try:
        return torch.zeros(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name}: {str(error).splitlines()[0]}") from error


def _mono(samples: Samples) -> Tensor:
    """Samples (N,) or (N, C), floats or 16-bit integers -> (N,) float32."""
    tensor = samples if isinstance(samples, Tensor) else torch.from_numpy(np.ascontiguousarray(samples))
    if tensor.dtype == torch.int16:
        tensor = tensor.to(torch.float32) / 32768.0
    return tensor.to(torch.float32).mean(1) if tensor.dim() == 2 and tensor.is_floating_point() else tensor


def _pieces(audio: str | Path | Samples, rate: int | None) -> Iterable[Piece]:
    if isinstance(audio, str | Path):
        return file_pieces(Path(audio), PIECE_SECONDS)
    if rate is None:
        raise InputError("rate: the sample rate of the samples, in Hz, is needed")
    return [(_mono(audio), rate)]


def with_chunk(mode: Mode, milliseconds: int | None, subsampling: int) -> Mode:
    """A streaming `mode` with another chunk.

    Raises:
        InputError: a chunk that is no whole number of encoder frames, or one of a full-context mode.
    """
    if milliseconds is None:
        return mode
    if mode.full_context:
        raise InputError(f"--chunk-ms: is for streaming, and mode {mode.name} sees the whole utterance")
    frame = round(subsampling * FRAME_SECONDS * 1000)
    if milliseconds < frame or milliseconds % frame:
        raise InputError(f"--chunk-ms: {milliseconds} is no multiple of {frame}, the encoder's frame in milliseconds")
    return replace(mode, chunk=milliseconds // frame)
