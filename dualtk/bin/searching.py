"""The options of `decode`, `transcribe` and `serve` that say how to search, and with what arithmetic to stream."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dualtk.bin.options import at_least
from dualtk.config import validate
from dualtk.search.options import SearchOptions
from dualtk.streaming.endpoint import EndpointOptions

if TYPE_CHECKING:
    from dualtk.recognizer import Recognizer

KINDS: dict[str, tuple[Callable[[str], Any], str]] = {
    "head": (str, "NAME"),
    "beam": (at_least(1), "K"),
    "max_symbols": (at_least(1), "N"),
    "max_length": (at_least(0), "N"),
    "lm": (Path, "PATH"),
    "lm_weight": (float, "W"),
    "source_lm": (Path, "PATH"),
    "source_lm_weight": (float, "W"),
    "internal_lm_weight": (float, "W"),
    "length_reward": (float, "R"),
    "hotwords": (Path, "FILE"),
    "hotwords_score": (float, "S"),
}
# What `dualtk tune` tunes where the option beside it is given, and the values that are tried without others.
GRID = {
    "lm_weight": ("lm", [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]),
    "source_lm_weight": ("source_lm", [0.0, 0.1, 0.2, 0.3]),
    "internal_lm_weight": (None, [0.0]),
    "length_reward": (None, [0.0]),
    "hotwords_score": ("hotwords", [0.5, 1.0, 1.5, 2.0, 3.0]),
}
BEAM = 4  # of `dualtk tune`


def add_search_options(options: argparse.ArgumentParser) -> None:
    """An option for each field of `SearchOptions`."""
    for key in KINDS:
        add_search_option(options, key)


def add_search_option(
    options: argparse.ArgumentParser, key: str, *, default: Any = None, nargs: str | None = None, shown: str = ""
) -> None:
    """The option of one field of `SearchOptions`.

    Args:
        options: of the command.
        key: of the field.
        default: None: that of the field.
        nargs: as argparse has it.
        shown: what --help calls the default, where that is not its value.
    """
    kind, name = KINDS[key]
    field = SearchOptions.model_fields[key]
    value = field.default if default is None else default
    text = " ".join(str(field.description).split()).rstrip(".")
    text = f"{text[0].lower()}{text[1:]}; default: {shown or ('none' if value is None else value)}"
    options.add_argument(
        f"--{key.replace('_', '-')}", type=kind, default=value, metavar=name, nargs=nargs, help=text.replace("%", "%%")
    )


def search_options(options: argparse.Namespace) -> SearchOptions:
    """The search that the options ask for."""
    return validate(SearchOptions, {key: getattr(options, key) for key in KINDS}, "search")


def add_arithmetic_options(options: argparse.ArgumentParser) -> None:
    """--precision and --engine."""
    options.add_argument(
        "--precision",
        choices=["float32", "int8"],
        default="float32",
        help="arithmetic of the encoder's linear layers, with --engine onnxruntime of predictor and joiner too; int8 "
        "is for streaming on a CPU with a bounded left context, and about twice as fast; default: float32",
    )
    options.add_argument(
        "--engine",
        choices=["torch", "onnxruntime"],
        default="torch",
        help="what computes encoder, predictor and joiner; onnxruntime is for streaming on a CPU with a bounded left "
        "context, faster, and steps streams together in int8 too; default: torch",
    )


ENDPOINTS = ("rule1_min_trailing_silence", "rule2_min_trailing_silence", "rule3_min_utterance_length", "min_pause")


def add_endpoint_options(options: argparse.ArgumentParser) -> None:
    """An option for each field of `EndpointOptions`."""
    for key in ENDPOINTS:
        field = EndpointOptions.model_fields[key]
        text = str(field.description).rstrip(".").replace("\n", " ")
        options.add_argument(
            f"--{key.replace('_', '-')}",
            type=float,
            default=field.default,
            metavar="SECONDS",
            help=f"{text[0].lower()}{text[1:]}; default: {field.default}",
        )
    options.add_argument("--no-endpoints", action="store_true", help="a recording is one utterance")


def endpoint_options(options: argparse.Namespace) -> EndpointOptions:
    """The endpoints that the options ask for."""
    fields = {key: getattr(options, key) for key in ENDPOINTS}
    return validate(EndpointOptions, {"enabled": not options.no_endpoints, **fields}, "endpoints")


def load_recognizer(model: Path, options: argparse.Namespace) -> Recognizer:
    """The recogniser of an experiment or model folder that the options of `transcribe` and `serve` ask for."""
    from dualtk.recognizer import load  # with it comes torch, for which --help does not wait

    return load(
        model,
        device=options.device,
        tokens=options.tokens,
        chunk_ms=options.chunk_ms,
        precision=options.precision,
        engine=options.engine,
        search=search_options(options),
        endpoints=endpoint_options(options),
    )
