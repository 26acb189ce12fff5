"""Networks run over utterances, and the figures of what they do."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from dualtk.analysis.activations import observe
from dualtk.analysis.curves import read_metrics, teacher_error, training_pictures
from dualtk.analysis.picture import Picture
from dualtk.analysis.scene import FIGURES, Scene, SeenUtterance, System, file_name
from dualtk.analysis.tsne import available as has_tsne
from dualtk.bin.figures import CHOICES, FROM_METRICS, Experiment
from dualtk.data.dataset import FeatureDataset
from dualtk.data.selection import select_utterances
from dualtk.errors import InputError
from dualtk.trained import Trained, load

logger = logging.getLogger("dualtk")

FOLDER = "analysis"


def load_systems(
    networks: Sequence[Trained], own_modes: Sequence[str | None], modes: Sequence[str] | None
) -> list[System]:
    """Every network in the mode of its own, or else in every mode asked for.

    Raises:
        InputError: a network has no such mode, or the same system is asked for twice.
    """
    systems: list[System] = []
    places = {one.folder.resolve() for one in networks}
    for one, own in zip(networks, own_modes):
        place = one.folder.resolve()
        called = place.name if sum(place.name == other.name for other in places) == 1 else str(one.folder)
        known = list(one.system.modes)
        usual = known if len(networks) == 1 or len(known) == 1 else ["streaming"]
        for name in [own] if own is not None else modes or usual:
            label = name if len(networks) == 1 else f"{called} {name}"
            if any(label == system.name for system in systems):
                raise InputError(f"{one.folder}: {label} is there twice")
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
    experiments: Sequence[Experiment] = options.experiments
    tokens = options.tokens or experiments[0].folder / "lang"  # one for all: figures compare their classes
    networks = [load(one.folder, tokens) for one in experiments]
    systems = load_systems(networks, [one.mode for one in experiments], options.mode)
    shortest = max(system.network.encoder.subsampling for system in systems)
    utterances = load_utterances(options.data, networks[0], options.utterance, options.num, shortest)
    seen = {
        system.name: [observe(system.network, each.feats, each.targets, system.mode) for each in utterances]
        for system in systems
    }
    return Scene(systems, utterances, networks[0].tokenizer.pieces, seen, options.layer)


def draw_metrics(options: argparse.Namespace, wanted: Sequence[str]) -> list[Picture]:
    """Figures of metrics.jsonl; the teacher's error only where it was logged, unless it was asked for."""
    asked = dict.fromkeys(one.folder for one in options.experiments)
    folders = [folder for folder in asked if options.what or (folder / "metrics.jsonl").is_file()]
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
            raise InputError(f"{options.experiments[0].folder}: metrics.jsonl has no term {options.term}")
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


def run_analysis(options: argparse.Namespace) -> int:
    """Draw by the options of `dualtk analyse`; returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    for one in options.experiments:
        if not one.folder.is_dir():
            raise InputError(f"{one.folder}: no such experiment folder")
    out = options.out or options.experiments[0].folder / FOLDER
    for picture in draw(options):
        picture.save(out)
        logger.info("%s", out / f"{picture.name}.svg")
    return 0
