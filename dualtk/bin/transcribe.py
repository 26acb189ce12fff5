"""Transcribe audio: as it comes, with the whole utterance in view, or both with the same weights."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dualtk.bin.decode import find_mode, load_experiment
from dualtk.bin.display import Display, JsonDisplay, TextDisplay, Transcript
from dualtk.bin.dualtk import run
from dualtk.bin.options import at_least
from dualtk.bin.searching import add_search_options, build_search
from dualtk.bin.streaming import add_precision_option, open_recognizer
from dualtk.config import Config
from dualtk.data.bpe import Wordpieces
from dualtk.data.kinds import FeatureOptions, open_stream, read_options, require_kind
from dualtk.data.live import Piece, file_pieces, raw_pieces
from dualtk.errors import InputError
from dualtk.modes import Mode
from dualtk.search.greedy import Search
from dualtk.search.hypothesis import Hypothesis, spoken_words
from dualtk.streaming.session import FRAME_SECONDS, Recognizer
from dualtk.transducer.model import Transducer

TWO_PASS = "two-pass"
PIECE_SECONDS = 0.1  # of audio that is heard at once


def parser() -> argparse.ArgumentParser:
    """The options of `dualtk transcribe`."""
    options = argparse.ArgumentParser(prog="dualtk transcribe", description=__doc__)
    options.add_argument("files", nargs="+", metavar="FILE", help="audio; - is raw 16-bit 16 kHz mono PCM on stdin")
    options.add_argument("--exp", type=Path, required=True, metavar="DIR", help="experiment folder of stage 3")
    options.add_argument(
        "--mode",
        default="streaming",
        metavar="NAME",
        help="a mode of the experiment (streaming, full), or two-pass: streaming, then full; default: streaming",
    )
    options.add_argument(
        "--chunk-ms",
        type=at_least(1),
        metavar="N",
        help="milliseconds decided together in streaming; default: as trained",
    )
    options.add_argument("--bpe", type=Path, metavar="DIR", help="wordpiece directory; default: EXP/lang")
    options.add_argument("--json", action="store_true", help="JSON lines: partial results, then one with word times")
    add_precision_option(options)
    options.add_argument(
        "--threads", type=at_least(0), default=0, metavar="N", help="CPU threads; default: torch's own choice"
    )
    add_search_options(options)
    return options


def with_chunk(mode: Mode, milliseconds: int | None, subsampling: int) -> Mode:
    """A streaming `mode` with another chunk.

    Raises:
        InputError: a chunk that is no whole number of encoder frames.
    """
    if milliseconds is None:
        return mode
    frame = round(subsampling * FRAME_SECONDS * 1000)
    if milliseconds < frame or milliseconds % frame:
        raise InputError(f"--chunk-ms: {milliseconds} is no multiple of {frame}, the encoder's frame in milliseconds")
    return replace(mode, chunk=milliseconds // frame)


class Recorder:
    """A front end that remembers its frames, for the second pass."""

    def __init__(self, options: FeatureOptions) -> None:
        self.front_end = open_stream(options)
        self.frames = [torch.zeros(0, options.dim)]

    def accept(self, samples: Tensor, sample_rate: int) -> Tensor:
        """See `FbankStream.accept`."""
        self.frames.append(self.front_end.accept(samples, sample_rate))
        return self.frames[-1]

    def finish(self) -> Tensor:
        """See `FbankStream.finish`."""
        self.frames.append(self.front_end.finish())
        return self.frames[-1]

    def save(self) -> dict[str, Any]:
        """See `FbankStream.save`."""
        return {"front_end": self.front_end.save(), "frames": torch.cat(self.frames)}

    def restore(self, saved: dict[str, Any]) -> None:
        """See `FbankStream.restore`."""
        self.front_end.restore(saved["front_end"])
        self.frames = [saved["frames"]]


@dataclass
class Transcriber:
    """A loaded experiment, ready to hear audio.

    Attributes:
        first: streams, or None where only the whole utterance is decoded.
        second: the full-context mode that decodes the whole utterance, or None.
    """

    network: Transducer
    wordpieces: Wordpieces
    features: FeatureOptions
    search: Search[Any]
    first: Recognizer[Any] | None
    second: Mode | None

    def transcribe(self, name: str, pieces: Iterator[Piece], display: Display) -> None:
        """Decode one recording and show what is found."""
        recorder = Recorder(self.features)
        session = None if self.first is None else self.first.open(recorder)
        heard, shown = 0.0, ""
        for samples, rate in pieces:
            heard += len(samples) / rate
            if session is None:
                recorder.accept(samples, rate)
                continue
            if self.second is None:
                recorder.frames.clear()  # nobody will ask for them
            text = self.wordpieces.decode(session.accept(samples, rate).tokens)
            if text != shown:
                display.partial(name, text, heard)
                shown = text
        if session is not None:
            found = session.finish()
            display.final(self._transcript(name, session.recognizer.mode.name, found, heard))
        else:
            recorder.finish()
        if self.second is not None:
            found = self._whole(torch.cat(recorder.frames), self.second)
            display.final(self._transcript(name, self.second.name, found, heard))

    @torch.inference_mode()
    def _whole(self, frames: Tensor, mode: Mode) -> Hypothesis:
        """Decode feature frames (T, F) at once."""
        (stream,) = self.search.start(1)
        if len(frames):
            lengths = torch.tensor([len(frames)])
            encoded = self.network.encode(self.network.normalize(frames.unsqueeze(0), lengths), lengths, mode)
            self.search.advance(encoded.frames, encoded.lengths, [stream])
        best: Hypothesis = self.search.nbest(stream, final=True)[0]
        return best

    def _transcript(self, name: str, mode: str, found: Hypothesis, heard: float) -> Transcript:
        seconds = self.network.encoder.subsampling * FRAME_SECONDS
        words = spoken_words(found, self.wordpieces.pieces)
        return Transcript(name, mode, self.wordpieces.decode(found.tokens), heard, seconds, words)


def modes_of(config: Config, name: str, folder: Path) -> list[Mode]:
    """The modes that `--mode` asks for, in the order of their passes."""
    if name == TWO_PASS:
        return [find_mode(config, one, folder) for one in ("streaming", "full")]
    return [find_mode(config, name, folder)]


def load(options: argparse.Namespace) -> Transcriber:
    """The experiment, in the modes that the options ask for."""
    wordpieces = Wordpieces(options.bpe or options.exp / "lang")
    config, network = load_experiment(options.exp, wordpieces.vocab_size)
    features = read_options(options.exp)
    require_kind(options.exp, config.features.kind)
    if features.dim != config.features.dim:
        raise InputError(
            f"{options.exp / 'fbank.json'}: says {features.dim} dimensions, the network takes {config.features.dim}"
        )
    search = build_search(options, network, wordpieces.pieces)
    modes = modes_of(config, options.mode, options.exp)
    streaming = [mode for mode in modes if not mode.full_context]
    for option, is_given in (
        ("--chunk-ms", options.chunk_ms is not None),
        ("--precision", options.precision != "float32"),
    ):
        if is_given and not streaming:
            raise InputError(f"{option}: is for streaming, and mode {options.mode} sees the whole utterance")
    chunked = [with_chunk(mode, options.chunk_ms, network.encoder.subsampling) for mode in streaming]
    first = open_recognizer(network, chunked[0], search, options.precision) if chunked else None
    second = next((mode for mode in modes if mode.full_context), None)
    return Transcriber(network, wordpieces, features, search, first, second)


def main(argv: Sequence[str] | None = None) -> int:
    """Transcribe; see `parser` for the options."""
    options = parser().parse_args(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    transcriber = load(options)
    in_words = TextDisplay(sys.stdout, len(options.files) > 1, options.mode == TWO_PASS)
    display: Display = JsonDisplay(sys.stdout) if options.json else in_words
    status = 0
    for name in options.files:
        pieces = raw_pieces(sys.stdin.buffer, PIECE_SECONDS) if name == "-" else file_pieces(Path(name), PIECE_SECONDS)
        try:
            transcriber.transcribe(name, pieces, display)
        except InputError as error:  # one bad file does not keep the others from being transcribed
            display.clear()
            line = str(error)
            print(f"dualtk: error: {line if line.startswith(name) else f'{name}: {line}'}", file=sys.stderr)
            status = 2
    return status


if __name__ == "__main__":
    sys.exit(run(main))
