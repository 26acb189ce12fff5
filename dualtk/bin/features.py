"""Extract features (log-mel, or raw samples) of Kaldi data directories, into archives inside them.

Any sample rate is resampled once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dualtk.bin.dualtk import run
from dualtk.data.fbank import FbankOptions
from dualtk.data.features import extract_features
from dualtk.data.kinds import FeatureOptions
from dualtk.data.samples import SampleOptions


def _speeds(text: str) -> tuple[float, ...]:
    speeds = tuple(float(part) for part in text.replace(",", " ").split())
    if not speeds or len(set(speeds)) != len(speeds) or not all(0.5 <= speed <= 2.0 for speed in speeds):
        raise argparse.ArgumentTypeError("expected different factors between 0.5 and 2, like 0.9,1.0,1.1")
    return speeds


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, not {text}")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """The options of `dualtk features`."""
    options = argparse.ArgumentParser(prog="dualtk features", description=__doc__)
    add = options.add_argument
    add("directories", type=Path, nargs="+", metavar="DIR", help="a Kaldi data directory with wav.scp")
    add(
        "--kind",
        choices=["fbank", "samples"],
        default="fbank",
        help="log-mel energies, or raw samples, 10 ms a frame, as in features.kind of the YAML; default: fbank",
    )
    add("--nj", type=_positive, default=1, metavar="N", help="processes, one thread each; default: 1")
    add(
        "--cmvn",
        action="store_true",
        help="also write cmvn.ark: mean and variance of all frames, for the training set; default: no",
    )
    add(
        "--speed-perturb",
        type=_speeds,
        default=(1.0,),
        metavar="FACTORS",
        help="speeds, comma separated, like 0.9,1.0,1.1: all go to DIR_sp, as utterances sp0.9-<utterance>; "
        "default: 1.0, into DIR",
    )
    add(
        "--num-mels",
        type=_positive,
        default=80,
        metavar="N",
        help="mel bins, the dimension of the features; default: 80",
    )
    add(
        "--sample-rate",
        type=_positive,
        default=16000,
        metavar="HZ",
        help="rate that other audio is resampled to; default: 16000",
    )
    add("--low-frequency", type=float, default=20.0, metavar="HZ", help="lower edge of the lowest mel bin; default: 20")
    add(
        "--high-frequency",
        type=float,
        default=7600.0,
        metavar="HZ",
        help="upper edge of the highest mel bin; default: 7600",
    )
    add("--expected-rate", type=_positive, metavar="HZ", help="refuse audio of another rate; default: resample it")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Extract the features of every directory; returns the exit status."""
    options = parser().parse_args(argv)
    rate = options.sample_rate
    features: FeatureOptions = SampleOptions(rate)
    if options.kind == "fbank":
        features = FbankOptions(options.num_mels, rate, options.low_frequency, options.high_frequency)
    for directory in options.directories:
        perturb = options.speed_perturb != (1.0,)
        output = directory.with_name(f"{directory.name}_sp") if perturb else directory
        fresh = extract_features(
            directory,
            output,
            features,
            num_jobs=options.nj,
            speeds=options.speed_perturb,
            cmvn=options.cmvn,
            expected_rate=options.expected_rate,
            progress=sys.stderr.isatty(),
        )
        print(f"{output}: features {'written' if fresh else 'unchanged'}")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
