"""The folder of a neural language model, as `dualtk train-lm` writes it: configuration, weights and tokens."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Literal

import torch

from dualtk.config import FILE, FORMAT, laid, read_experiment, validate_layered
from dualtk.errors import InputError
from dualtk.lm import LanguageModelOptions
from dualtk.lm.hypotheses import NeuralModel
from dualtk.options import Section
from dualtk.tables import read_lines
from dualtk.tensors import fill_network, read_safetensors, require_finite

SECTION = "language_model"  # by which a file of a language model is known
NETWORK = "model.safetensors"
TOKENS = Path("lang/tokens.txt")


class NetworkSection(Section):
    """What of the configuration says which network it is."""

    format: Literal[2] = 2
    """Of experiment folders; a YAML need not say it."""
    language_model: LanguageModelOptions
    """The network."""


def read_neural_model(folder: Path, pieces: Sequence[str], device: torch.device) -> NeuralModel:
    """The model of a folder.

    Args:
        folder: that `dualtk train-lm` wrote.
        pieces: the tokens that it is to score, blank first.
        device: where it is to compute.

    Raises:
        InputError: no such model, a damaged one, or one of other tokens; names the first that differs.
    """
    if not (folder / FILE).is_file():
        raise InputError(f"{folder}: holds no language model: it has no {FILE}")
    tree = read_experiment(folder).tree
    if SECTION not in tree:
        raise InputError(f"{folder}: holds no language model: its {FILE} has no section {SECTION}")
    own = laid({"format": FORMAT, SECTION: tree[SECTION]}, str(folder / FILE))
    options = validate_layered(NetworkSection, own).language_model
    _require_tokens(folder / TOKENS, pieces)
    with torch.random.fork_rng(devices=[]):  # weights are drawn here only to be replaced
        network = options.build(len(pieces))
    path = folder / NETWORK
    fill_network(network, require_finite(read_safetensors(path)[0], path), path)
    return NeuralModel(network.to(device).eval())


def _require_tokens(path: Path, pieces: Sequence[str]) -> None:
    """Refuse a model of other tokens than `pieces`.

    Raises:
        InputError: names the first token that differs, or that only one has.
    """
    known = [line.rpartition(" ")[0] for line in read_lines(path)]
    for index, (here, there) in enumerate(zip_longest(known, pieces)):
        if here != there:
            raise InputError(f"{path}: token {index} is {here}, that of the network {there}: a model of other tokens")
