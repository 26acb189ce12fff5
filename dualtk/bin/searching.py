"""The options of search that `decode` and `transcribe` share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dualtk.bin.options import at_least
from dualtk.errors import InputError
from dualtk.search.beam import BeamSearch
from dualtk.search.greedy import GreedySearch, Search
from dualtk.search.hypothesis import Limits
from dualtk.search.language_model import Fusion, read_arpa
from dualtk.transducer.model import Transducer


def add_search_options(options: argparse.ArgumentParser) -> None:
    """--beam, --max-symbols, --max-length, --lm and --lm-weight."""
    options.add_argument(
        "--beam", type=at_least(1), default=1, metavar="K", help="hypotheses to keep; default: 1, greedy search"
    )
    options.add_argument(
        "--max-symbols", type=at_least(1), default=5, metavar="N", help="labels one frame may emit; default: 5"
    )
    options.add_argument(
        "--max-length",
        type=at_least(0),
        metavar="N",
        help="labels one utterance may have, which then hears only blank; default: no limit",
    )
    options.add_argument(
        "--lm", type=Path, metavar="ARPA", help="n-gram model over wordpieces for shallow fusion; needs --beam"
    )
    options.add_argument(
        "--lm-weight", type=float, default=0.3, metavar="W", help="weight of the language model; default: 0.3"
    )


def build_search(options: argparse.Namespace, network: Transducer, pieces: Sequence[str]) -> Search[Any]:
    """The search that the options ask for.

    Raises:
        InputError: a language model without a beam, or one that cannot be read.
    """
    limits = Limits(options.max_symbols, options.max_length)
    if options.lm is not None and options.beam == 1:
        raise InputError("--lm: needs a --beam of at least 2, greedy search does not consult it")
    if options.beam == 1:
        return GreedySearch(network.predictor, network.joiner, limits)
    fusion = None if options.lm is None else Fusion(read_arpa(options.lm, pieces), options.lm_weight)
    return BeamSearch(network.predictor, network.joiner, options.beam, limits, fusion)


def describe_search(options: argparse.Namespace) -> dict[str, object]:
    """What decode.json says of the search."""
    return {
        "name": "greedy" if options.beam == 1 else "beam",
        "beam": options.beam,
        "max_symbols": options.max_symbols,
        "max_length": options.max_length,
        "lm": None if options.lm is None else options.lm.name,
        "lm_weight": None if options.lm is None else options.lm_weight,
    }
