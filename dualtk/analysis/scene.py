"""Systems side by side on the same utterances, and the papers' figures of them.

A system is a network in one of its modes. Figures that set two against each other take the first as their base.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dualtk.analysis.activations import Activations
from dualtk.analysis.alignment import alignment_picture
from dualtk.analysis.attention import attention_maps
from dualtk.analysis.emission import emission, emission_lattices
from dualtk.analysis.entropy import entropies, entropy_densities
from dualtk.analysis.layers import distance_picture, layer_distances
from dualtk.analysis.picture import Picture
from dualtk.analysis.similar import similar_picture, similar_wordpieces
from dualtk.analysis.tsne import tsne_picture
from dualtk.errors import InputError
from dualtk.frames import FRAME_SECONDS
from dualtk.modes import Mode
from dualtk.score.latency import emission_time
from dualtk.transducer.model import Transducer


@dataclass(frozen=True)
class System:
    """A network in one of its modes; its feature frames cover `reach` seconds of audio each, from their start on."""

    name: str
    network: Transducer
    mode: Mode
    reach: float

    @property
    def frame_seconds(self) -> float:
        """Seconds of an encoder output frame."""
        return self.network.encoder.subsampling * FRAME_SECONDS


@dataclass(frozen=True)
class SeenUtterance:
    """Raw features (T, F) and labels (U,) of an utterance."""

    feats: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Scene:
    """What figures are drawn from: systems, utterances, and what each system did with each utterance.

    The first utterance is the one of the single-utterance figures. `pieces` are the wordpieces, `seen` the activations
    by system and utterance, `layer` counts from 1 (None: the middle one).
    """

    systems: Sequence[System]
    utterances: Sequence[SeenUtterance]
    pieces: Sequence[str]
    seen: dict[str, list[Activations]]
    layer: int | None

    def tokens(self) -> list[str]:
        """Tokens of the first utterance."""
        return [self.pieces[label] for label in self.utterances[0].targets.tolist()]

    def chosen_layer(self) -> int:
        """Layer from 1 that figures of one layer show.

        Raises:
            InputError: the network has no such layer.
        """
        num_layers = min(len(seen[0].hidden) for seen in self.seen.values())
        layer = self.layer or max(1, num_layers // 2)
        if not 1 <= layer <= num_layers:
            raise InputError(f"layer {layer}: the encoder has layers 1 to {num_layers}")
        return layer


def file_name(text: str) -> str:
    """`text` as part of a file name."""
    return "".join(letter if letter.isalnum() else "-" for letter in text)


def draw_emission(scene: Scene) -> list[Picture]:
    """Emission lattices of all systems."""
    found = {name: emission(seen[0].lattice) for name, seen in scene.seen.items()}
    return [emission_lattices(found, scene.tokens(), scene.systems[0].frame_seconds)]


def draw_alignment(scene: Scene) -> list[Picture]:
    """Times at which the systems emit the reference's tokens."""
    feats = scene.utterances[0].feats
    times = {}
    for system in scene.systems:
        mode, path = system.mode, scene.seen[system.name][0].lattice.best_path()[0].numpy()
        duration = len(feats) * FRAME_SECONDS
        if mode.full_context:  # all is emitted at the end; what differs is where in the audio the tokens lie
            times[system.name] = ((path + 1) * system.frame_seconds).tolist()
        else:
            subsampling = system.network.encoder.subsampling
            times[system.name] = emission_time(
                path, subsampling, mode.chunk, mode.look_ahead_frames, duration, system.reach
            ).tolist()
    return [alignment_picture(times, scene.tokens(), feats.numpy())]


def draw_entropy(scene: Scene) -> list[Picture]:
    """Entropy densities of each system's components."""
    pictures = []
    for name, seen in scene.seen.items():
        components = {
            "joint": [entropies(each.joint_logits) for each in seen],
            "decoder": [entropies(each.predictor_logits) for each in seen],
            "encoder": [entropies(each.encoder_logits) for each in seen],
        }
        joined = {component: np.concatenate(values) for component, values in components.items()}
        pictures.append(entropy_densities(joined, name, f"entropy-{file_name(name)}"))
    return pictures


def draw_similar(scene: Scene) -> list[Picture]:
    """Acoustically similar wordpieces of each system."""
    pictures = []
    labels = torch.cat([each.targets for each in scene.utterances])
    for name, seen in scene.seen.items():
        at_emission = torch.cat([each.encoder_logits[each.lattice.best_path()[0]] for each in seen])
        found = similar_wordpieces(at_emission, labels, scene.pieces)
        pictures.append(similar_picture(found, name, f"similar-{file_name(name)}"))
    return pictures


def draw_distances(scene: Scene) -> list[Picture]:
    """Distances between the first system's hidden vectors and the others'; nothing for a lone system."""
    base, *others = scene.seen
    if not others:
        return []
    stacked = {name: _stack(seen) for name, seen in scene.seen.items()}
    return [
        distance_picture({f"{other} to {base}": layer_distances(stacked[base], stacked[other]) for other in others})
    ]


def _stack(seen: Sequence[Activations]) -> list[Tensor]:
    """Per layer, the frames of all utterances (N, D)."""
    return [torch.cat(layer) for layer in zip(*(each.hidden for each in seen))]


def draw_tsne(scene: Scene) -> list[Picture]:
    """Hidden vectors of one layer, all systems together."""
    layer = scene.chosen_layer()
    return [tsne_picture({name: seen[0].hidden[layer - 1] for name, seen in scene.seen.items()}, layer)]


def draw_attention(scene: Scene) -> list[Picture]:
    """Attention maps of one layer, of the systems that have attention there."""
    layer = scene.chosen_layer()
    weights = {name: seen[0].attention for name, seen in scene.seen.items() if len(seen[0].attention) >= layer}
    return [attention_maps({name: one[layer - 1] for name, one in weights.items()}, layer)] if weights else []


FIGURES: dict[str, Callable[[Scene], list[Picture]]] = {
    "emission": draw_emission,
    "alignment": draw_alignment,
    "entropy": draw_entropy,
    "similar": draw_similar,
    "distances": draw_distances,
    "tsne": draw_tsne,
    "attention": draw_attention,
}
