"""A development set decoded at every point of a grid of weights, encoded once."""

from __future__ import annotations

import argparse
import itertools
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from dualtk.bin.decode_set import read_set
from dualtk.bin.problems import about
from dualtk.bin.searching import GRID, KINDS
from dualtk.config import validate
from dualtk.data.batches import collate
from dualtk.data.dataset import FeatureDataset
from dualtk.data.kaldi import set_name
from dualtk.data.sampler import BatchesOptions
from dualtk.errors import InputError
from dualtk.files import require_own, write_text
from dualtk.modes import Mode
from dualtk.score.align import align
from dualtk.score.wer import Counts, count
from dualtk.search.greedy import Search
from dualtk.search.options import SearchOptions
from dualtk.search.whole import search_frames
from dualtk.trained import Trained, load

MADE = "# Tuned on"  # how a file of options begins

logger = logging.getLogger("dualtk")

Point = dict[str, float]


@dataclass(frozen=True)
class Result:
    """A point of the grid, and the word errors there in each mode."""

    point: Point
    counts: dict[str, Counts]

    @property
    def order(self) -> tuple[int, float]:
        """The best has the least."""
        return sum(one.errors for one in self.counts.values()), sum(map(abs, self.point.values()))


def require_development(data: Path) -> None:
    """Refuse what is called a test set: weights that have seen it would make its figures worth nothing.

    Raises:
        InputError: says so.
    """
    name = set_name(data)
    if re.split(r"[-_.]", name.lower())[0] in ("test", "eval"):
        raise InputError(f"--data {data}: {name} is a test set by its name; weights are tuned on a development set")


def read_grid(options: argparse.Namespace) -> tuple[SearchOptions, list[Point]]:
    """The search without weights, and the points to try.

    Raises:
        InputError: an option out of its range, or nothing to tune.
    """
    axes: dict[str, list[float]] = {}
    for key, (needed, values) in GRID.items():
        given = list(dict.fromkeys(getattr(options, key)))
        if needed is None or getattr(options, needed) is not None:
            axes[key] = given
        elif given != values:
            raise InputError(f"--{key.replace('_', '-')}: needs --{needed.replace('_', '-')}")
    points: list[Point] = [dict(zip(axes, values)) for values in itertools.product(*axes.values())]
    if len(points) == 1:
        raise InputError("nothing to tune: give --lm, --source-lm, --hotwords, or several values of a weight")
    fixed = {key: getattr(options, key) for key in KINDS if key not in GRID and key != "head"}
    chosen = {key: value for key, value in fixed.items() if value is not None}
    for point in points:
        search = validate(SearchOptions, {**chosen, **point}, "search")
    return search, points


class Grid:
    """Decodes a set at every point.

    Args:
        trained: the network, on the device where it is to compute.
        search: what does not change.
        points: what does.
    """

    def __init__(self, trained: Trained, search: SearchOptions, points: Sequence[Point]) -> None:
        network, tokenizer = trained.network, trained.tokenizer
        models = search.read_models(tokenizer.pieces, network.feature_mean.device)
        self.trained = trained
        self.searches: list[Search[Any]] = [
            search.model_copy(update=point).build(network, tokenizer.pieces, tokenizer.encode, (), models)
            for point in points
        ]

    @torch.inference_mode()
    def decode(self, dataset: FeatureDataset, mode: Mode, indices: Sequence[int]) -> list[list[Counts]]:
        """Word counts of each utterance of a batch, at every point."""
        network, tokenizer = self.trained.network, self.trained.tokenizer
        batch = collate([dataset[index] for index in indices]).to(network.feature_mean.device)
        feats = network.normalize(batch.feats, batch.feat_lengths)
        encoded = network.encode(feats, batch.feat_lengths, mode)
        found = [search_frames(search, encoded.frames, encoded.lengths) for search in self.searches]
        counts = []
        for row, index in enumerate(indices):
            said = dataset.entries[index].text.lower().split()
            texts = [tokenizer.decode(nbest[row][0].tokens).lower().split() for nbest in found]
            counts.append([count(align(said, text)) for text in texts])
        return counts

    def results(
        self, dataset: FeatureDataset, modes: Sequence[Mode], max_frames: int, points: list[Point]
    ) -> list[Result]:
        """The errors of the set at every point, in every mode."""
        batches = BatchesOptions(max_frames=max_frames).build(dataset.lengths, shuffle=False).batches(0)
        totals = {mode.name: [Counts()] * len(points) for mode in modes}
        with tqdm(total=len(dataset) * len(modes), unit="utt", disable=None) as progress:
            for indices, mode in itertools.product(batches, modes):
                with about(f"{dataset.directory}: mode {mode.name}: utterance {dataset.entries[indices[0]].name}, ..."):
                    for counts in self.decode(dataset, mode, indices):
                        totals[mode.name] = [one + other for one, other in zip(totals[mode.name], counts)]
                        progress.update()
        return [Result(point, {name: one[index] for name, one in totals.items()}) for index, point in enumerate(points)]


def table(results: Sequence[Result], best: Result) -> str:
    """The grid, a row for each point."""
    varied = [key for key in best.point if len({one.point[key] for one in results}) > 1]
    header = [*(key.replace("_", " ") for key in varied), *(f"{name} WER %" for name in best.counts), ""]
    lines = [_line(header), _line(["---"] * len(header))]
    for one in results:
        cells = [*(f"{one.point[key]:g}" for key in varied), *(f"{100 * c.rate:.2f}" for c in one.counts.values())]
        lines.append(_line([*cells, "best" if one is best else ""]))
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def conf_text(search: SearchOptions, best: Result, dataset: FeatureDataset) -> str:
    """The search with the best weights, as options of `dualtk decode`."""
    rates = ", ".join(
        f"{name} {100 * one.rate:.2f} % ({one.errors} of {one.reference})" for name, one in best.counts.items()
    )
    lines = [f"{MADE} {set_name(dataset.directory)}, {len(dataset)} utterances; word errors: {rates}"]
    values = {**search.model_dump(exclude_none=True, exclude={"head"}), **best.point}
    unused = {key for key, (needed, _) in GRID.items() if key not in best.point or (needed is None and not values[key])}
    for key, value in values.items():
        if key not in unused:
            shown = value.resolve() if isinstance(value, Path) else value
            lines.append(f"--{key.replace('_', '-')}={shown}")
    return "\n".join(lines) + "\n"


def tune(options: argparse.Namespace) -> int:
    """Decode at every point, print the grid, write the best; returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    require_development(options.data)
    out = options.out or options.exp / "tuned" / f"{set_name(options.data)}.conf"
    require_own(out, MADE, "options of dualtk tune")
    search, points = read_grid(options)
    if options.device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: there is none")
    use_cuda = options.device != "cpu" and torch.cuda.is_available()
    trained = load(options.exp, options.tokens)
    modes = [trained.mode(name) for name in options.modes or trained.system.modes]
    trained.network.to("cuda" if use_cuda else "cpu")
    dataset = read_set(options, trained)
    if not any(entry.text for entry in dataset.entries):
        raise InputError(f"{options.data}: has no transcripts to count errors by")
    logger.info("%d points, %d utterances, in %s", len(points), len(dataset), ", ".join(mode.name for mode in modes))
    results = Grid(trained, search, points).results(dataset, modes, options.max_frames, points)
    best = min(results, key=lambda one: one.order)
    print(table(results, best))
    write_text(out, conf_text(search, best, dataset))
    logger.info("%s: written; `run.sh --decode-conf %s` reads it", out, out)
    return 0
