"""An exported network beside the one it was made from, on the same speech.

Shapes: T feature frames, F features, T' frames of the joiner, J joiner width, N samples.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from dualtk.data.kinds import extract
from dualtk.errors import InputError
from dualtk.export.contracts import Target, repeats_of, symbols_per_frame
from dualtk.export.onnx_decoder import OnnxDecoder
from dualtk.export.sherpa import RATE, SherpaDecoder
from dualtk.export.speech import Speech
from dualtk.frames import FRAME_SECONDS
from dualtk.graphs.files import Precision
from dualtk.modes import Mode
from dualtk.score.align import align
from dualtk.score.wer import Counts, count, total
from dualtk.search.options import SearchOptions
from dualtk.streaming.decoder import open_decoder
from dualtk.streaming.session import StreamingDecoder
from dualtk.trained import Trained

EMISSION_SECONDS = 0.5  # by which labels come later than what they stand for
MOST_DIFFERENT = 1e-3  # of a float32 frame, in parts of the largest number in it
MOST_CHANGED = {"float32": 0.001, "float16": 0.01, "int8": 0.05}  # share of the words that may differ from PyTorch's

Decode = Callable[[Tensor], str]


@dataclass
class Result:
    """What one decoder made of all speech: texts by utterance, and the seconds of a core that it took."""

    texts: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class Comparison:
    """One mode of an exported network beside PyTorch.

    Attributes:
        mode: its name.
        difference: largest between a number that the joiner reads and PyTorch's, in parts of the largest of its kind.
        results: by decoder, PyTorch with the exported rules second to last, the exported network last.
        errors: by decoder, against what was said; without transcripts there are none.
        changed: the exported network against PyTorch with the same rules.
        changed_texts: utterances in which these two differ.
        audio_seconds: of all speech.
    """

    mode: str
    difference: float
    results: dict[str, Result]
    errors: dict[str, Counts]
    changed: Counts
    changed_texts: int
    audio_seconds: float

    def require_equal(self, precision: Precision) -> None:
        """Refuse an exported network that is another.

        Raises:
            InputError: frames, or too many words.
        """
        if precision == "float32" and not self.difference <= MOST_DIFFERENT:
            raise InputError(f"mode {self.mode}: a frame of the exported encoder differs by {self.difference:.1e}")
        most = max(1, math.ceil(MOST_CHANGED[precision] * self.changed.reference))
        if self.changed.errors > most:
            raise InputError(
                f"mode {self.mode}: {self.changed.errors} of {self.changed.reference} words of the exported network "
                f"differ from PyTorch's, at most {most} may in {precision}"
            )


@dataclass(frozen=True)
class Decoders:
    """Ways from audio (N,) at the features' rate to text, in one mode."""

    trained: Trained
    mode: Mode

    def features(self, samples: Tensor) -> Tensor:
        """(N,) -> (T, F)."""
        features = self.trained.system.features
        return extract(samples, features.sample_rate, features)

    def text(self, tokens: Sequence[int]) -> str:
        """Words of labels."""
        return " ".join(self.trained.tokenizer.decode(tokens).split())

    def network(self, max_symbols: int, padding: int | None = None) -> Decode:
        """PyTorch; with `padding`, a stream ends in as many samples of silence and with its last whole window."""
        search = SearchOptions(max_symbols=max_symbols).build(self.trained.network, self.trained.tokenizer.pieces)
        decoder = open_decoder(self.trained.network, self.mode, search)

        def decode(samples: Tensor) -> str:
            if padding is None or not isinstance(decoder, StreamingDecoder):
                feats = self.features(samples).unsqueeze(0)
                return self.text(decoder.decode(feats, torch.tensor([feats.shape[1]]))[0][0].tokens)
            feats = self.features(torch.cat([samples, torch.zeros(padding)]))
            window = decoder.chunk_features + self.mode.look_ahead_frames
            last = len(feats) - 1 - window  # start of the last window: sherpa-onnx waits for one frame more
            windows = max(0, last // decoder.chunk_features + 1)
            session = decoder.open()
            session.push_features(feats[: windows * decoder.chunk_features + self.mode.look_ahead_frames])
            decoder.advance([session])
            return self.text(session.best.tokens)

        return decode

    def graphs(self, decoder: OnnxDecoder) -> Decode:
        """The graphs by onnxruntime."""
        mean = self.trained.network.feature_mean.numpy()
        return lambda samples: self.text(decoder.search(decoder.encode(self.features(samples).numpy(), mean)))

    @torch.inference_mode()
    def difference(self, decoder: OnnxDecoder, samples: Tensor) -> tuple[float, float]:
        """Largest difference of the encoder's frames (T', J) from PyTorch's, and the largest number of those."""
        network, feats = self.trained.network, self.features(samples)
        lengths = torch.tensor([len(feats)])
        encoded = network.encode(network.normalize(feats.unsqueeze(0), lengths), lengths, self.mode)
        wanted = network.joiner.encoder(encoded.frames[0])
        frames = torch.from_numpy(decoder.encode(feats.numpy(), network.feature_mean.numpy()))
        repeats = len(frames) // len(wanted)
        assert len(frames) == repeats * len(wanted)
        wanted = wanted.repeat_interleave(repeats, dim=0)
        return float((frames - wanted).abs().max()), float(wanted.abs().max())


def tail_samples(mode: Mode, subsampling: int) -> int:
    """Silence after a stream, at 16 kHz, that takes the last word through sherpa-onnx."""
    frames = mode.chunk * subsampling + mode.look_ahead_frames + 1
    return round((frames * FRAME_SECONDS + EMISSION_SECONDS) * RATE)


def compare(folder: Path, trained: Trained, mode: Mode, target: Target, speech: Sequence[Speech]) -> Comparison:
    """Decode `speech` with the exported folder and with PyTorch.

    Args:
        folder: exported.
        trained: that it was made from.
        mode: one of those exported, as exported.
        target: that it was made for.
        speech: at least one utterance.
    """
    ways, encoder = Decoders(trained, mode), trained.network.encoder
    usual, repeats = SearchOptions().max_symbols, repeats_of(encoder, target)
    graphs = OnnxDecoder(folder, mode.name, symbols_per_frame(target))
    decoders = {"PyTorch": ways.network(usual)}
    if target == "sherpa-onnx":
        tail = tail_samples(mode, encoder.subsampling)
        sherpa = SherpaDecoder(folder, mode, trained.system.features.dim, tail)
        decoders[f"PyTorch, {repeats} a frame"] = ways.network(repeats, tail)
        decoders["sherpa-onnx"] = lambda samples: sherpa.decode(samples.numpy())
    else:
        decoders["onnxruntime"] = ways.graphs(graphs)
    results = {name: Result() for name in decoders}
    audio, differences = 0.0, []
    for utterance in speech:
        samples = utterance.samples(trained.system.features.sample_rate)
        audio += len(samples) / trained.system.features.sample_rate
        differences.append(ways.difference(graphs, samples))
        for name, decode in decoders.items():
            began = time.process_time()
            results[name].texts[utterance.name] = decode(samples)
            results[name].seconds += time.process_time() - began
    said = {one.name: one.text for one in speech if one.text is not None}
    errors = {name: errors_of(said, one.texts) for name, one in results.items()} if said else {}
    *_, same, own = (one.texts for one in results.values())
    difference = max(first for first, _ in differences) / max(second for _, second in differences)
    changed_texts = sum(same[name] != own[name] for name in same)
    return Comparison(mode.name, difference, results, errors, errors_of(same, own), changed_texts, audio)


def errors_of(said: dict[str, str], texts: dict[str, str]) -> Counts:
    """Of all utterances of `said`; case does not count."""
    pairs: Iterable[tuple[str, str]] = ((text.lower(), texts[name].lower()) for name, text in said.items())
    return total(count(align(ref.split(), hyp.split())) for ref, hyp in pairs)
