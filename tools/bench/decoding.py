"""Speed of streaming and of search, in one table.

    python tools/bench/decoding.py [--only streaming,hour,search,features] [--write]

One core. Times are CPU seconds of the one thread that works, which on an idle core is what a clock shows and on a
shared one is not moved by the neighbours; medians over chunks. The network is
egs/methods/dual_conformer.yaml at the paper's size with random weights, its blank set so that a sixth of the frames
emit.
`--write` puts the table into tools/bench/README.md.

Axes: B streams or utterances, T frames, F features.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE)]


from dualtk.data.fbank import fbank  # noqa: E402
from dualtk.data.stream import FbankStream  # noqa: E402
from dualtk.export.contracts import decoder_graph, encoder_graph, joiner_graph  # noqa: E402
from dualtk.export.graphs import without_unknown  # noqa: E402
from dualtk.export.onnx_decoder import DECODER, JOINER, encoder_file  # noqa: E402
from dualtk.export.sherpa import SherpaDecoder  # noqa: E402
from dualtk.graphs.files import write_onnx  # noqa: E402
from dualtk.modes import FULL_CONTEXT, Mode, streaming  # noqa: E402
from dualtk.search.beam import BeamSearch  # noqa: E402
from dualtk.search.greedy import GreedySearch, Search  # noqa: E402
from dualtk.search.hypothesis import Limits  # noqa: E402
from dualtk.search.whole import search_frames  # noqa: E402
from dualtk.streaming.compiled_step import compile_step  # noqa: E402
from dualtk.streaming.onnx_steps import OnnxSteps  # noqa: E402
from dualtk.streaming.session import StreamingDecoder  # noqa: E402
from dualtk.system import load, require_transducer  # noqa: E402
from dualtk.transducer.model import Transducer  # noqa: E402

RATE = 16000
VOCABULARY = 1024
CONFIG = ROOT / "egs/methods/dual_conformer.yaml"
SIZE = ROOT / "egs/librispeech/asr1/conf/paper.yaml"
LIMITS = Limits(symbols_per_frame=1)  # as sherpa-onnx: random weights would repeat a label up to any limit
MARKERS = ("<!-- decoding:begin -->", "<!-- decoding:end -->")


@dataclass(frozen=True)
class Row:
    """One line of the table; `value` must be at least (or at most) its target, where there is one."""

    what: str
    measured: str
    value: float
    target: float | None = None
    at_least: bool = False

    def line(self) -> str:
        """As a row of a Markdown table."""
        if self.target is None:
            return f"| {self.what} | {self.measured} | {self.value:.3g} | | |"
        met = self.value >= self.target if self.at_least else self.value <= self.target
        sign = "≥" if self.at_least else "≤"
        verdict = "met" if met else "**missed**"
        return f"| {self.what} | {self.measured} | {self.value:.3g} | {sign} {self.target:g} | {verdict} |"


def seconds_of(work: Callable[[], object], rounds: int = 1) -> float:
    """Median CPU seconds of `work`."""
    taken = []
    for _ in range(rounds):
        began = time.thread_time()
        work()
        taken.append(time.thread_time() - began)
    return statistics.median(taken)


def audio(seconds: float, seed: int = 0) -> Tensor:
    """Noise (N,) whose loudness and colour change as those of speech do."""
    generator = torch.Generator().manual_seed(seed)
    size = round(seconds * RATE)
    noise = torch.randn(size + 9, generator=generator)
    loud = 0.02 + 0.4 * torch.rand(size // 1600 + 1, generator=generator).repeat_interleave(1600)[:size]
    return loud * torch.where(loud > 0.2, noise.unfold(0, 9, 1).mean(1)[:size], noise[:size])


@torch.inference_mode()
def make_network() -> Transducer:
    """The paper's network; joiner and blank are set so that labels change and a sixth of the frames emit one."""
    torch.manual_seed(0)
    feats = fbank(audio(30, 1), RATE)
    system = require_transducer(load(CONFIG, SIZE), str(CONFIG))
    network = system.build_network(VOCABULARY, feats.mean(0), 1 / feats.std(0)).eval()
    joiner, lengths = network.joiner, torch.tensor([len(feats)])
    batch = network.normalize(feats.unsqueeze(0), lengths)
    encoded = network.encode(batch, lengths, streaming(64, 4)).frames
    projected = joiner.encoder(encoded[0])
    scale = 1.0 / projected.std(0).clamp(min=1e-3)
    joiner.encoder.weight.mul_(scale.unsqueeze(1))
    joiner.encoder.bias.copy_((joiner.encoder.bias - projected.mean(0)) * scale)
    assert joiner.output is not None
    joiner.output.weight.mul_(6.0)
    low, high = -10.0, 40.0
    for _ in range(12):  # bisection on the bias of blank
        joiner.output.bias[0] = (low + high) / 2
        search = GreedySearch(network.predictor, joiner, LIMITS)
        found = search_frames(search, encoded, torch.tensor([encoded.shape[1]]))[0][0]
        low, high = ((low + high) / 2, high) if len(found.tokens) > encoded.shape[1] / 6 else (low, (low + high) / 2)
    return network


def stream_seconds(decoder: StreamingDecoder[Any], batch: int, chunks: int) -> float:
    """Median seconds that a chunk of `batch` streams takes, from samples to tokens."""
    size = decoder.chunk_features * RATE // 100
    sessions = [decoder.open(FbankStream()) for _ in range(batch)]
    sound = [audio(size * (chunks + 4) / RATE, seed) for seed in range(batch)]
    taken = []
    for index in range(chunks + 4):
        began = time.thread_time()
        for session, samples in zip(sessions, sound):
            session.push(samples[index * size : (index + 1) * size], RATE)
        decoder.advance(sessions)
        taken.append(time.thread_time() - began)
    return statistics.median(taken[4:])  # the first chunks optimise the graph


def bench_streaming(network: Transducer) -> Iterator[Row]:
    """Real-time factors of sessions, and what 8 bits change."""
    search = GreedySearch(network.predictor, network.joiner, LIMITS)
    for chunk, target in ((4, 0.10), (1, 0.30)):
        mode = streaming(64, chunk)
        milliseconds = chunk * 40
        eager = stream_seconds(StreamingDecoder(network, mode, search), 1, 40)
        yield Row(f"one stream, {milliseconds} ms, eager PyTorch", "real-time factor", eager * 1000 / milliseconds)
        for precision in ("float32", "int8"):
            shared = StreamingDecoder(network, mode, search, compile_step(network.encoder, mode, precision))  # type: ignore[arg-type]
            one = stream_seconds(shared, 1, 80)
            name = f"{milliseconds} ms, compiled step, {precision}"
            goal = target if precision == "int8" else None
            yield Row(f"one stream, {name}", "real-time factor", one * 1000 / milliseconds, goal)
            if chunk == 4:
                many = stream_seconds(shared, 16, 12)
                yield Row(f"16 streams, {name}", "throughput of one stream", 16 * one / many, 3.0, True)
    yield from compare_precisions(network)


def bench_peers(network: Transducer) -> Iterator[Row]:
    """Chunks of one stream and of several together: PyTorch, onnxruntime, and sherpa-onnx with the exported network."""
    mode, search = streaming(64, 4), GreedySearch(network.predictor, network.joiner, LIMITS)
    for precision in ("float32", "int8"):
        steps = {
            "PyTorch": compile_step(network.encoder, mode, precision),  # type: ignore[arg-type]
            "onnxruntime": OnnxSteps(network.encoder, mode, precision),  # type: ignore[arg-type]
        }
        ours = {
            name: StreamingDecoder(network, mode, search, one, together=precision == "float32")
            for name, one in steps.items()
        }
        with tempfile.TemporaryDirectory() as folder:
            write_for_sherpa(Path(folder), network, mode, precision)
            theirs = SherpaDecoder(Path(folder), mode, network.encoder.input_dim, 0).recognizer
            for batch, chunks in ((1, 60), (16, 12), (64, 6)):
                taken = {name: stream_seconds(decoder, batch, chunks) for name, decoder in ours.items()}
                taken["sherpa-onnx"] = sherpa_seconds(theirs, batch, chunks)
                streams = "one stream" if batch == 1 else f"{batch} streams"
                for name, seconds in taken.items():
                    goal = taken["sherpa-onnx"] / batch / 0.16 if name == "onnxruntime" else None
                    what = f"{streams}, 160 ms, {precision}, {name}"
                    yield Row(what, "real-time factor of each", seconds / batch / 0.16, goal)


def write_for_sherpa(folder: Path, network: Transducer, mode: Mode, precision: Any) -> None:
    """What `dualtk export --to sherpa-onnx` writes of a network with random weights."""
    own = without_unknown(network)
    write_onnx(folder / encoder_file(mode.name), encoder_graph(own, mode, "sherpa-onnx"), precision)
    write_onnx(folder / DECODER, decoder_graph(own, "sherpa-onnx", 16), precision)
    write_onnx(folder / JOINER, joiner_graph(own), precision)
    tokens = ["<blk>", "<unk>", *(f"{index}" for index in range(2, VOCABULARY))]
    (folder / "tokens.txt").write_text("".join(f"{token} {index}\n" for index, token in enumerate(tokens)))


def sherpa_seconds(recognizer: Any, batch: int, chunks: int) -> float:
    """As `stream_seconds`, of sherpa-onnx."""
    size = round(0.16 * RATE)
    streams = [recognizer.create_stream() for _ in range(batch)]
    sound = [audio(size * (chunks + 4) / RATE, seed).numpy() for seed in range(batch)]
    taken = []
    for index in range(chunks + 4):
        began = time.thread_time()
        for stream, samples in zip(streams, sound):
            stream.accept_waveform(RATE, samples[index * size : (index + 1) * size])
        while ready := [stream for stream in streams if recognizer.is_ready(stream)]:
            recognizer.decode_streams(ready)
        taken.append(time.thread_time() - began)
    return statistics.median(taken[4:])


@torch.inference_mode()
def compare_precisions(network: Transducer) -> Iterator[Row]:
    """The frames and labels of 8-bit weights against those of 32 bits."""
    mode = streaming(64, 4)
    found, frames = [], []
    for precision in ("float32", "int8"):
        step, kept = compile_step(network.encoder, mode, precision), []  # type: ignore[arg-type]

        def keeping(chunk: Tensor, state: Any, step: Any = step, kept: list[Tensor] = kept) -> Any:
            output, state = step(chunk, state)
            kept.append(output)
            return output, state

        search = GreedySearch(network.predictor, network.joiner, LIMITS)
        session = StreamingDecoder(network, mode, search, keeping).open(FbankStream())
        session.accept(audio(30, 5), RATE)
        found.append(session.finish())
        frames.append(torch.cat(kept))
    error = (frames[1] - frames[0]).square().mean().sqrt() / frames[0].std()
    yield Row("int8 against float32, encoder frames", "error / standard deviation", float(error))
    pairs = set(zip(found[0].tokens, found[0].frames)), set(zip(found[1].tokens, found[1].frames))
    changed = len(pairs[0] ^ pairs[1]) / max(2 * len(pairs[0]), 1)
    yield Row("int8 against float32, labels (random weights: every decision is close)", "share that differ", changed)


def bench_hour(network: Transducer) -> Iterator[Row]:
    """The cost of a chunk after an hour against its cost in the first minutes."""
    mode = streaming(64, 4)
    step = compile_step(network.encoder, mode, "int8")
    search = GreedySearch(network.predictor, network.joiner, LIMITS)
    session = StreamingDecoder(network, mode, search, step).open(FbankStream())
    minute, taken = audio(60, 3), []
    for _ in range(60):
        for samples in minute.split(2560):
            began = time.thread_time()
            session.accept(samples, RATE)
            taken.append(time.thread_time() - began)
    part = len(taken) // 12
    ratio = statistics.median(taken[-part:]) / statistics.median(taken[10:part])
    yield Row("chunk of 160 ms in the last 5 minutes of an hour", "times that in the first 5", ratio, 1.1)


@dataclass
class Timed:
    """Seconds and scores of decoding some utterances."""

    encoder: float = 0.0
    search: float = 0.0
    score: float = 0.0


@torch.inference_mode()
def decode(network: Transducer, utterances: list[Tensor], search: Search[Any], batch_size: int = 10) -> Timed:
    """Decode (T, F) features in full context, `batch_size` at a time."""
    timed = Timed()
    for first in range(0, len(utterances), batch_size):
        feats = utterances[first : first + batch_size]
        lengths = torch.tensor([len(one) for one in feats])
        began = time.thread_time()
        padded = network.normalize(torch.nn.utils.rnn.pad_sequence(feats, batch_first=True), lengths)
        encoded = network.encode(padded, lengths, FULL_CONTEXT)
        between = time.thread_time()
        streams = search.start(len(feats))
        search.advance(encoded.frames, encoded.lengths, streams)
        timed.search += time.thread_time() - between
        timed.encoder += between - began
        timed.score += sum(search.nbest(stream)[0].score for stream in streams)
    return timed


def bench_search(network: Transducer) -> Iterator[Row]:
    """Greedy against the encoder, beams against greedy."""
    lengths = (6 + 8 * torch.rand(100, generator=torch.Generator().manual_seed(2))).sort().values.tolist()
    utterances = [fbank(audio(seconds, seed), RATE) for seed, seconds in enumerate(lengths)]
    parts = network.predictor, network.joiner
    base = decode(network, utterances, GreedySearch(*parts, LIMITS))
    greedy_total = base.encoder + base.search
    yield Row("100 utterances, full, greedy", "real-time factor", greedy_total / sum(lengths))
    yield Row("100 utterances, full, greedy", "encoder's share", base.encoder / greedy_total, 0.8, True)
    for beam, target in ((4, 3.0), (16, None)):
        found = decode(network, utterances, BeamSearch(*parts, beam, LIMITS))
        total = found.encoder + found.search
        yield Row(f"100 utterances, full, beam {beam}", "times greedy, encoder included", total / greedy_total, target)
    yield from compare_torchaudio(network, utterances[::10])


@torch.inference_mode()
def compare_torchaudio(network: Transducer, utterances: list[Tensor]) -> Iterator[Row]:
    """torchaudio's beam search on the same encoder frames."""
    from torchaudio_rnnt import torchaudio_search

    lengths = torch.tensor([len(one) for one in utterances])
    padded = network.normalize(torch.nn.utils.rnn.pad_sequence(utterances, batch_first=True), lengths)
    encoded = network.encode(padded, lengths, FULL_CONTEXT)
    rows = [row[:length] for row, length in zip(encoded.frames, encoded.lengths.tolist())]
    search = BeamSearch(network.predictor, network.joiner, 10, LIMITS)
    began = time.thread_time()
    streams = search.start(len(rows))
    search.advance(encoded.frames, encoded.lengths, streams)
    ours = [search.nbest(stream)[0].score for stream in streams]
    between = time.thread_time()
    theirs = torchaudio_search(network.predictor, network.joiner, rows, 10, search.limits.symbols_per_frame)
    ended = time.thread_time()
    gain = statistics.mean(one - other.score for one, other in zip(ours, theirs))
    yield Row(
        "beam 10 against torchaudio's, 10 utterances", "times faster", (ended - between) / (between - began), 3.0, True
    )
    yield Row("beam 10 against torchaudio's, 10 utterances", "mean gain in score", gain, -1e-3, True)


def bench_features(network: Transducer) -> Iterator[Row]:
    """Features, whole and in pieces of 160 ms."""
    minute = audio(60, 4)

    def in_pieces() -> Tensor:
        stream = FbankStream()
        return torch.cat([*(stream.accept(samples, RATE) for samples in minute.split(2560)), stream.finish()])

    difference = float((in_pieces() - fbank(minute, RATE)).abs().max())
    whole, pieces = seconds_of(lambda: fbank(minute, RATE), 5), seconds_of(in_pieces, 5)
    yield Row("features of a minute at once", "times real time", 60 / whole, 1000, True)
    yield Row("features of a minute in pieces of 160 ms", "times real time", 60 / pieces)
    yield Row("features in pieces against at once", "largest difference", difference, 1e-4)


BENCHES = {
    "streaming": bench_streaming,
    "peers": bench_peers,
    "search": bench_search,
    "features": bench_features,
    "hour": bench_hour,
}


def table(rows: list[Row]) -> str:
    """Markdown."""
    head = ["| what | measured | value | target | |", "| --- | --- | --- | --- | --- |"]
    machine = f"One core of {processor()}, PyTorch {torch.__version__}. `python tools/bench/decoding.py --write`"
    return "\n".join([machine, "", *head, *(row.line() for row in rows)])


def processor() -> str:
    """What the machine calls its processor."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0].partition(": ")[2] if names else platform.processor() or platform.machine()


def write(text: str) -> None:
    """Put `text` between the markers of README.md, which are added at its end where they are missing."""
    path = HERE / "README.md"
    before = path.read_text(encoding="utf-8") if path.exists() else "# Benchmarks\n"
    begin, end = MARKERS
    if begin not in before:
        before = f"{before.rstrip()}\n\n## Decoding\n\n{begin}\n{end}\n"
    head, _, rest = before.partition(begin)
    path.write_text(f"{head}{begin}\n{text}\n{end}{rest.partition(end)[2]}", encoding="utf-8")


def main() -> int:
    """Measure what --only names."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--only", default=",".join(BENCHES), metavar="NAMES", help="default: %(default)s")
    options.add_argument("--write", action="store_true", help="write the table into tools/bench/README.md")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    network = make_network()
    rows = []
    for name in chosen.only.split(","):
        for row in BENCHES[name](network):
            print(row.line(), flush=True)
            rows.append(row)
    if chosen.write:
        write(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
