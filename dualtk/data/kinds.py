"""The kinds of features by their options: log-mel energies, or raw samples. N samples, T frames, F features."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Discriminator, Tag, ValidationError
from torch import Tensor

from dualtk.data.fbank import FbankOptions, fbank, fbank_frames
from dualtk.data.resample import resampled_length
from dualtk.data.samples import SampleOptions, SampleStream, num_sample_frames, sample_frames
from dualtk.data.stream import FbankStream
from dualtk.errors import InputError
from dualtk.faults import explain
from dualtk.files import write_text
from dualtk.options import Section
from dualtk.tables import read_json


def _kind(section: Any) -> Any:
    """The kind of a section, log-mel where it does not say."""
    return section.get("kind", "fbank") if isinstance(section, Mapping) else getattr(section, "kind", None)


FeaturesOptions = Annotated[
    Annotated[FbankOptions, Tag("fbank")] | Annotated[SampleOptions, Tag("samples")], Discriminator(_kind)
]
FILE = "fbank.json"  # in a data directory and in an experiment folder


class _Configuration(Section):
    """The section of a configuration that says what features there are."""

    features: FeaturesOptions = FbankOptions()
    """What stage 1 makes of audio."""


def features_options(fields: object, source: object) -> FeaturesOptions:
    """The options that the fields of a section `features` say; `source` names the file or the option they come from.

    Raises:
        InputError: one line with the source and the key at fault.
    """
    tree = {"features": fields}
    try:
        return _Configuration.model_validate(tree).features
    except ValidationError as error:
        raise InputError(explain(error, tree, lambda keys: None, str(source))) from error


def frame_fields(options: FeaturesOptions) -> dict[str, Any]:
    """What decides a frame: all fields but those that decide what frames there are, and how they are kept."""
    return options.model_dump(exclude={"speeds", "source", "cmvn_utterances", "storage"})


def extract(samples: Tensor, sample_rate: int, options: FeaturesOptions, speed: float = 1.0) -> Tensor:
    """A mono signal (N,) in [-1, 1] -> its features (T, F); see `fbank` and `sample_frames`."""
    if isinstance(options, SampleOptions):
        return sample_frames(samples, sample_rate, options, speed)
    return fbank(samples, sample_rate, options, speed)


def count_frames(num_samples: int, sample_rate: int, options: FeaturesOptions, speed: float = 1.0) -> int:
    """The frames that `extract` makes of so many samples.

    Raises:
        InputError: too few for one.
    """
    num_samples = resampled_length(num_samples, round(sample_rate * speed), options.sample_rate)
    if isinstance(options, SampleOptions):
        return num_sample_frames(num_samples, options)
    return fbank_frames(num_samples, options)


def open_stream(options: FeaturesOptions) -> FbankStream | SampleStream:
    """The same features of a signal that is still coming in."""
    return SampleStream(options) if isinstance(options, SampleOptions) else FbankStream(options)


def write_options(directory: Path, options: FeaturesOptions) -> None:
    """Leave fbank.json in a directory, so that new audio gets the same features."""
    write_text(directory / FILE, json.dumps(frame_fields(options), indent=2) + "\n")


def read_options(directory: Path) -> FeaturesOptions:
    """The options that a data directory's features were made with."""
    path = directory / FILE
    if not path.is_file():
        raise InputError(f"{path}: no feature options there (dualtk features writes them)")
    return features_options(read_json(path), path)


def require_features(directory: Path, wanted: FeaturesOptions, source: object = "the configuration") -> None:
    """Refuse a folder whose features were made with other options than those `wanted`, which `source` says.

    Features without fbank.json were made elsewhere, as Kaldi makes them: those are log-mel.

    Raises:
        InputError: the kind or, where it is known, another value that decides a frame is another.
    """
    path = directory / FILE
    made = frame_fields(read_options(directory)) if path.exists() else {"kind": "fbank"}
    compare_features(made, wanted, path if path.exists() else directory, source)


def compare_features(made: Mapping[str, Any], wanted: FeaturesOptions, where: object, source: object) -> None:
    """Refuse fields of features that are others than those `wanted`; `where` and `source` say them.

    Raises:
        InputError: names both, the first key that differs and both values.
    """
    for key, value in frame_fields(wanted).items():
        if made.get(key, value) != value:
            raise InputError(f"{where}: {key} of the features is {made[key]}, {source} has features.{key} {value}")
