"""The figures of the papers for trained networks, with their data as TSV; the report shows them.

A system is an experiment in one of its modes. Figures that set two against each other take the first as their base.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from dualtk.analysis.activations import observe
from dualtk.analysis.curves import read_metrics, teacher_error, training_pictures
from dualtk.analysis.picture import Picture
from dualtk.analysis.scene import FIGURES, Scene, SeenUtterance, System, file_name
from dualtk.analysis.tsne import available as has_tsne
from dualtk.bin.dualtk import run
from dualtk.bin.options import at_least
from dualtk.data.batches import FeatureDataset, select_utterances
from dualtk.errors import InputError
from dualtk.trained import Trained, load

logger = logging.getLogger("dualtk")

FOLDER = "analysis"
FROM_METRICS = ("training", "teacher-error")
CHOICES = (*FIGURES, *FROM_METRICS)


def parser() -> argparse.ArgumentParser:
    """The options of `dualtk analyse`."""
    options = argparse.ArgumentParser(prog="dualtk analyse", description=__doc__)
    options.add_argument("experiments", type=Path, nargs="+", metavar="EXP", help="trained experiment folders")
    options.add_argument(
        "--what",
        nargs="+",
        choices=CHOICES,
        metavar="FIGURE",
        help=f"{', '.join(CHOICES)}; default: all but training, and t-SNE where scikit-learn is installed",
    )
    options.add_argument("--data", type=Path, metavar="DIR", help="data directory with feats.scp, for all but training")
    options.add_argument("--tokens", type=Path, metavar="DIR", help="folder of tokens; default: lang of the first EXP")
    options.add_argument(
        "--mode",
        action="append",
        metavar="NAME",
        help="a mode of every EXP; may be repeated; default: all modes of one EXP, streaming of several",
    )
    options.add_argument(
        "--utterance", metavar="ID", help="utterance of the single-utterance figures; default: the first"
    )
    options.add_argument(
        "--num",
        type=at_least(1),
        default=20,
        metavar="N",
        help="utterances for densities, distances, tables; default: 20",
    )
    options.add_argument("--layer", type=at_least(1), metavar="N", help="encoder layer from 1; default: the middle one")
    options.add_argument(
        "--term", default="encoder_logits", metavar="NAME", help="of teacher-error; default: encoder_logits"
    )
    options.add_argument("--out", type=Path, metavar="DIR", help="default: analysis/ of the first EXP")
    return options


def load_systems(networks: Sequence[Trained], modes: Sequence[str] | None) -> list[System]:
    """Every network in every mode asked for."""
    systems = []
    for one in networks:
        names = modes or (list(one.system.modes) if len(networks) == 1 else ["streaming"])
        for name in names:
            label = name if len(networks) == 1 else f"{one.folder.resolve().name} {name}"
            systems.append(System(label, one.network, one.mode(name), one.system.features.reach))
    return systems


def load_utterances(data: Path, trained: Trained, first: str | None, num: int, shortest: int) -> list[SeenUtterance]:
    """`num` utterances of a data directory, the one asked for in front.

    Raises:
        InputError: there is no such utterance.
    """
    dataset = FeatureDataset(select_utterances(data, trained.tokenizer.encode, min_frames=shortest), is_finite=True)
    names = [entry.name for entry in dataset.entries]
    if first is not None and first not in names:
        raise InputError(f"{data}: has no utterance {first}")
    order = sorted(range(len(names)), key=lambda index: names[index] != first)
    examples = [dataset[index] for index in order[:num]]
    return [SeenUtterance(example.feats, example.targets) for example in examples]


def make_scene(options: argparse.Namespace) -> Scene:
    """Run every system over the utterances."""
    if options.data is None:
        raise InputError("these figures need --data DIR")
    tokens = options.tokens or options.experiments[0] / "lang"  # one for all: figures compare their classes
    networks = [load(folder, tokens) for folder in options.experiments]
    systems = load_systems(networks, options.mode)
    shortest = max(system.network.encoder.subsampling for system in systems)
    utterances = load_utterances(options.data, networks[0], options.utterance, options.num, shortest)
    seen = {
        system.name: [observe(system.network, each.feats, each.targets, system.mode) for each in utterances]
        for system in systems
    }
    return Scene(systems, utterances, networks[0].tokenizer.pieces, seen, options.layer)


def draw_metrics(options: argparse.Namespace, wanted: Sequence[str]) -> list[Picture]:
    """Figures of metrics.jsonl; the teacher's error only where it was logged, unless it was asked for."""
    folders = [folder for folder in options.experiments if options.what or (folder / "metrics.jsonl").is_file()]
    metrics = {folder.resolve().name: read_metrics(folder / "metrics.jsonl") for folder in folders}
    pictures = []
    if "training" in wanted:
        for name, lines in metrics.items():
            pictures += training_pictures(lines, file_name(name))
    if "teacher-error" in wanted:
        logged = any(key.endswith(f"/{options.term}") for lines in metrics.values() for line in lines for key in line)
        if logged:
            pictures.append(teacher_error(metrics, options.term))
        elif options.what:
            raise InputError(f"{options.experiments[0]}: metrics.jsonl has no term {options.term}")
    return pictures


def draw(options: argparse.Namespace) -> list[Picture]:
    """All figures asked for."""
    optional = {"training"} if has_tsne() else {"training", "tsne"}
    wanted = options.what or [name for name in CHOICES if name not in optional]
    pictures = draw_metrics(options, wanted) if set(FROM_METRICS) & set(wanted) else []
    chosen = [name for name in FIGURES if name in wanted]
    if chosen:
        scene = make_scene(options)
        for name in chosen:
            drawn = FIGURES[name](scene)
            if not drawn and options.what:
                raise InputError(f"--what {name}: none of the systems has it")
            pictures += drawn
    return pictures


def main(argv: Sequence[str] | None = None) -> int:
    """Draw the figures; see `parser` for the options."""
    options = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    for folder in options.experiments:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such experiment folder")
    out = options.out or options.experiments[0] / FOLDER
    for picture in draw(options):
        picture.save(out)
        logger.info("%s", out / f"{picture.name}.svg")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
