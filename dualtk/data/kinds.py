"""The kinds of features by their options: log-mel energies, or raw samples. N samples, T frames, F features."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from dualtk.data.fbank import FbankOptions, fbank
from dualtk.data.samples import SampleOptions, SampleStream, sample_frames
from dualtk.data.stream import FbankStream
from dualtk.errors import InputError
from dualtk.files import write_text

FeatureOptions = FbankOptions | SampleOptions
FILE = "fbank.json"  # in a data directory and in an experiment folder
SAMPLES = "samples"


def extract(samples: Tensor, sample_rate: int, options: FeatureOptions, speed: float = 1.0) -> Tensor:
    """A mono signal (N,) in [-1, 1] -> its features (T, F); see `fbank` and `sample_frames`."""
    if isinstance(options, SampleOptions):
        return sample_frames(samples, sample_rate, options, speed)
    return fbank(samples, sample_rate, options, speed)


def open_stream(options: FeatureOptions) -> FbankStream | SampleStream:
    """The same features of a signal that is still coming in."""
    return SampleStream(options) if isinstance(options, SampleOptions) else FbankStream(options)


def write_options(directory: Path, options: FeatureOptions) -> None:
    """Leave fbank.json in a data directory, so that whoever hears new audio computes the same features."""
    kind = {"kind": SAMPLES} if isinstance(options, SampleOptions) else {}
    write_text(directory / FILE, json.dumps({**kind, **asdict(options)}, indent=2) + "\n")


def read_options(directory: Path) -> FeatureOptions:
    """The options that a data directory's features were made with."""
    path = directory / FILE
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        return SampleOptions(**fields) if fields.pop("kind", None) == SAMPLES else FbankOptions(**fields)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: no feature options there (dualtk features writes them)") from error


def require_kind(directory: Path, kind: str) -> None:
    """Refuse a folder whose features are not of the kind `fbank` or `samples` that the configuration asks for.

    Features without fbank.json were made elsewhere, as Kaldi makes them: those are log-mel.

    Raises:
        InputError: the kind is another.
    """
    path = directory / FILE
    made = SAMPLES if path.exists() and isinstance(read_options(directory), SampleOptions) else "fbank"
    if made != kind:
        raise InputError(f"{path if path.exists() else directory}: features are {made}, features.kind is {kind}")
