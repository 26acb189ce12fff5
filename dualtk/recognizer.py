"""A trained network, ready for audio: as it comes, with the whole utterance in view, or both with the same weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dualtk.data.kinds import open_stream, read_options, require_features
from dualtk.data.live import Piece
from dualtk.errors import InputError
from dualtk.frames import FRAME_SECONDS
from dualtk.modes import Mode
from dualtk.search.hypothesis import Hypothesis, SpokenWord, spoken_words
from dualtk.search.options import SearchOptions
from dualtk.search.whole import WholeDecoder
from dualtk.streaming.compiled_step import Precision
from dualtk.streaming.decoder import open_decoder
from dualtk.streaming.session import StreamingDecoder
from dualtk.trained import Trained
from dualtk.trained import load as load_trained

TWO_PASS = "two-pass"


@dataclass(frozen=True)
class Transcript:
    """What was said in a recording, or in the part of it that has come in.

    Attributes:
        mode: that it was decoded in.
        text: the words.
        words: each with its times and confidence.
        audio_seconds: how much audio has come in.
        is_final: whether that is all of it.
    """

    mode: str
    text: str
    words: Sequence[SpokenWord]
    audio_seconds: float
    is_final: bool


@dataclass(frozen=True)
class Recognizer:
    """Transcribes audio with a trained network.

    Attributes:
        trained: the network, with its configuration and tokens.
        streaming: decodes audio as it comes; None where only the whole utterance is decoded.
        whole: decodes the whole utterance, after the first pass if there is one; or None.
    """

    trained: Trained
    streaming: StreamingDecoder[Any] | None
    whole: WholeDecoder | None

    def transcribe(self, pieces: Iterable[Piece]) -> Iterator[Transcript]:
        """Transcribe one recording: while it comes in, each change of its text; at its end, the result of each pass.

        Args:
            pieces: samples (N,) in [-1, 1] with their rate in Hz.
        """
        front_end, frames = open_stream(self.trained.system.features), []
        session = None if self.streaming is None else self.streaming.open()
        seconds, shown = 0.0, ""
        for samples, rate in pieces:
            seconds += len(samples) / rate
            feats = front_end.accept(samples, rate)
            if self.whole is not None:
                frames.append(feats)
            if session is not None:
                session.push_features(feats)
                session.decoder.advance([session])
                partial = self._transcript(session.decoder.mode, session.best, seconds, is_final=False)
                if partial.text != shown:
                    yield partial
                shown = partial.text
        feats = front_end.finish()
        if session is not None:
            session.push_features(feats)
            yield self._transcript(session.decoder.mode, session.finish(), seconds)
        if self.whole is not None:
            feats = torch.cat([*frames, feats]).unsqueeze(0)
            hypotheses = self.whole.decode(feats, torch.tensor([feats.shape[1]]))
            yield self._transcript(self.whole.mode, hypotheses[0][0], seconds)

    def _transcript(self, mode: Mode, result: Hypothesis, seconds: float, is_final: bool = True) -> Transcript:
        tokenizer = self.trained.tokenizer
        words = spoken_words(result, tokenizer.pieces, self.trained.network.encoder.subsampling * FRAME_SECONDS)
        return Transcript(mode.name, tokenizer.decode(result.tokens), words, seconds, is_final)


def load(
    folder: Path,
    mode: str = "streaming",
    *,
    tokens: Path | None = None,
    chunk_ms: int | None = None,
    precision: Precision = "float32",
    search: SearchOptions | None = None,
) -> Recognizer:
    """The network of an experiment folder, ready for audio.

    Args:
        folder: of the experiment.
        mode: one of its modes, or `two-pass`: streaming, then full.
        tokens: folder of its tokens; None: `lang` in the experiment folder.
        chunk_ms: milliseconds that are decided together in streaming; None: as trained.
        precision: arithmetic of the encoder in streaming; int8 needs a bounded left context.
        search: None: greedy.

    Raises:
        InputError: no trained network, no such mode, or one that the other arguments do not go with.
    """
    trained = load_trained(folder, tokens)
    read_options(folder)  # it has none where features were made elsewhere, which audio cannot be made into here
    require_features(folder, trained.system.features)
    built = (search or SearchOptions()).build(trained.network, trained.tokenizer.pieces)
    modes = [trained.mode(name) for name in (("streaming", "full") if mode == TWO_PASS else (mode,))]
    first = with_chunk(modes[0], chunk_ms, trained.network.encoder.subsampling)
    decoder = open_decoder(trained.network, first, built, precision)
    streaming = decoder if isinstance(decoder, StreamingDecoder) else None
    whole = WholeDecoder(trained.network, modes[-1], built) if modes[-1].full_context else None
    return Recognizer(trained, streaming, whole)


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
