"""What a network makes of its test set when the utterances come as one recording, with pauses between them.

    python tools/bench/long.py EXP DATA [--minutes 10 60] [--modes streaming full two-pass] [--beam 4]
        [--pauses zeros noise speech]

DATA is the data directory with wav.scp and text. Utterances are joined in a drawn order, again and again until the
minutes are full, with pauses of 0.2 to 3 s of zeros, of faint white noise (-60 dB of full scale), or of noise with the
spectrum of the speech (-40 dB). Errors are set against those of the same utterances one by one in the same mode and
search (in two-pass against full context); the peak is that of the process, which holds the recording as well.

Axes: N samples.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import dualtk
from dualtk.data.audio import read_audio
from dualtk.data.kaldi import read_audio_sources
from dualtk.data.resample import resample
from dualtk.edit_distance import edits
from dualtk.search.options import SearchOptions
from dualtk.tables import read_table

RATE = 16000
PAUSES = ("zeros", "noise", "speech")


def pause(kind: str, size: int, speech: Tensor, generator: torch.Generator) -> Tensor:
    """(N,) of what stands between utterances."""
    if kind == "zeros":
        return torch.zeros(size)
    noise = torch.randn(size, generator=generator)
    if kind == "speech":
        spectrum = torch.fft.rfft(speech, n=2 * size).abs()
        noise = torch.fft.irfft(spectrum * torch.fft.rfft(noise, n=2 * size))[:size]
    level = 1e-3 if kind == "noise" else 1e-2
    return level * noise / noise.std().clamp(min=1e-9)


def join(data: Path, minutes: float, kind: str) -> tuple[Tensor, list[str]]:
    """The recording (N,) and the utterances in it."""
    generator = torch.Generator().manual_seed(0)
    sources = read_audio_sources(data)
    names, parts, length, order = list(sources), [], 0, []
    while length < minutes * 60 * RATE:
        for index in torch.randperm(len(names), generator=generator).tolist():
            samples, rate = read_audio(sources[names[index]])
            samples = resample(samples, rate, RATE)
            seconds = 0.2 + 2.8 * float(torch.rand((), generator=generator))
            parts += [samples, pause(kind, round(seconds * RATE), samples, generator)]
            length += sum(map(len, parts[-2:]))
            order.append(names[index])
            if length >= minutes * 60 * RATE:
                break
    return torch.cat(parts), order


def words_of(recognizer: dualtk.Recognizer, samples: Tensor, mode: str) -> list[str]:
    """What is recognised."""
    return recognizer.transcribe(samples.numpy(), mode, rate=RATE).text.split()


def single(exp: Path, data: Path, mode: str, beam: int) -> dict[str, list[str]]:
    """The words of each utterance, alone and without endpoints between its words."""
    torch.set_num_threads(1)
    recognizer = dualtk.load(exp, search=SearchOptions(beam=beam))
    found = {}
    for name, source in read_audio_sources(data).items():
        samples, rate = read_audio(source)
        found[name] = words_of(recognizer, resample(samples, rate, RATE), "full" if mode == "two-pass" else mode)
    return found


def whole(
    exp: Path, data: Path, mode: str, beam: int, minutes: float, kind: str
) -> tuple[list[str], list[str], float, float]:
    """Words of the recording, its utterances, seconds of computation per second of audio, peak in MiB."""
    torch.set_num_threads(1)
    recognizer = dualtk.load(exp, search=SearchOptions(beam=beam))
    samples, order = join(data, minutes, kind)
    began = time.monotonic()
    words = words_of(recognizer, samples, mode)
    taken = (time.monotonic() - began) / (len(samples) / RATE)
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))
    return words, order, taken, peak


def main(argv: Sequence[str] | None = None) -> int:
    """Print a row for each mode, length and pause."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exp", type=Path, metavar="EXP")
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--minutes", type=float, nargs="+", default=[10.0])
    parser.add_argument("--modes", nargs="+", default=["streaming", "full", "two-pass"])
    parser.add_argument(
        "--pauses", nargs="+", default=["zeros", "noise", "speech"], choices=["zeros", "noise", "speech"]
    )
    parser.add_argument("--beam", type=int, default=1)
    options = parser.parse_args(argv)
    texts = {name: text.split() for name, text in read_table(options.data / "text").items()}
    print("| mode | minutes | pauses | WER joined | WER one by one | ratio | RTF | peak MiB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:  # a process each: the peak is one recording's
        for mode in options.modes:
            alone = pool.apply(single, (options.exp, options.data, mode, options.beam))
            for minutes in options.minutes:
                for kind in options.pauses:
                    given = (options.exp, options.data, mode, options.beam, minutes, kind)
                    found, order, taken, peak = pool.apply(whole, given)
                    reference = [word for name in order for word in texts[name]]
                    joined = edits(reference, found).total / len(reference)
                    by_one = sum(edits(texts[name], alone[name]).total for name in order) / len(reference)
                    ratio = f"{joined / by_one:.2f}" if by_one else "-"
                    cells = [mode, f"{minutes:g}", kind, f"{100 * joined:.2f} %", f"{100 * by_one:.2f} %", ratio]
                    print("| " + " | ".join([*cells, f"{taken:.3f}", f"{peak:.0f}"]) + " |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
