"""The options of `decode`, `transcribe` and `serve` that say how to search, and with what arithmetic to stream."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from dualtk.bin.options import at_least
from dualtk.config import validate
from dualtk.search.options import SearchOptions
from dualtk.streaming.decoder import Engine
from dualtk.streaming.endpoint import EndpointOptions

KINDS: dict[str, tuple[Callable[[str], Any], str]] = {
    "head": (str, "NAME"),
    "beam": (at_least(1), "K"),
    "max_symbols": (at_least(1), "N"),
    "max_length": (at_least(0), "N"),
    "lm": (Path, "ARPA"),
    "lm_weight": (float, "W"),
    "hotwords": (Path, "FILE"),
    "hotwords_score": (float, "S"),
}


def add_search_options(options: argparse.ArgumentParser) -> None:
    """An option for each field of `SearchOptions`."""
    for key, (kind, name) in KINDS.items():
        field = SearchOptions.model_fields[key]
        text = str(field.description).rstrip(".")
        text = f"{text[0].lower()}{text[1:]}; default: {'none' if field.default is None else field.default}"
        options.add_argument(f"--{key.replace('_', '-')}", type=kind, default=field.default, metavar=name, help=text)


def search_options(options: argparse.Namespace) -> SearchOptions:
    """The search that the options ask for."""
    return validate(SearchOptions, {key: getattr(options, key) for key in KINDS}, "search")


def add_arithmetic_options(options: argparse.ArgumentParser) -> None:
    """--precision and --engine."""
    options.add_argument(
        "--precision",
        choices=["float32", "int8"],
        default="float32",
        help="arithmetic of the encoder's linear layers; int8 is for streaming on a CPU with a bounded left context, "
        "and about twice as fast; default: float32",
    )
    options.add_argument(
        "--engine",
        choices=get_args(Engine),
        default="torch",
        help="what computes the encoder; onnxruntime is for streaming on a CPU with a bounded left context, faster, "
        "and steps streams together in int8 too; default: torch",
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
