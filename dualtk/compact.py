"""One mode of a trained network as an experiment of its own, without the weights that its mask removes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from torch import Tensor, nn

from dualtk.config import dump
from dualtk.files import atomic_folder, write_text
from dualtk.modes import Mode
from dualtk.plan import PassOptions
from dualtk.pruning.masks import prunable_layers
from dualtk.pruning.one_shot import Masks
from dualtk.pruning.packing import pack
from dualtk.streaming.compiled_step import Precision, streaming_speed
from dualtk.system import TransducerSystem
from dualtk.train.checkpoint import save_network
from dualtk.train.experiment import Experiment
from dualtk.trained import Trained, load
from dualtk.transducer.model import Transducer


@dataclass(frozen=True)
class CompactFacts:
    """What was written; sizes in bytes, speeds as real-time factors of the streaming encoder on one thread.

    Attributes:
        trained: whether the network was trained with these masks, or pruned in one shot.
        parameters: of the mode, with those that are masked.
        kept_parameters: of them, those that are stored.
        full_size: of the experiment's network, all modes.
        speed: by precision; empty for a mode without a compiled step.
    """

    mode: str
    sparsity: float
    pattern: str
    trained: bool
    int8: bool
    parameters: int
    kept_parameters: int
    size: int
    full_size: int
    speed: dict[str, float]


def mode_of_size(system: TransducerSystem, mode: Mode, sparsity: float | None) -> Mode:
    """The mode that sees what `mode` sees and was trained with this sparsity (a supernet of many sizes), or `mode`."""
    for other in system.mode_list():
        if other.sparsity == sparsity and replace(other, name=mode.name, sparsity=mode.sparsity) == mode:
            return other
    return mode


def alone(system: TransducerSystem, mode: Mode) -> TransducerSystem:
    """A network that has `mode` only; its masks are in its weights, and nothing teaches it."""
    own = {mode.name: system.modes[mode.name].model_copy(update={"sparsity": 0.0})}
    passes = {"modes": own, "passes": {mode.name: PassOptions()}, "sampled_steps": 0, "pruning": None}
    return system.model_copy(update={**passes, "terms": {}, "teacher": None})


def tensors_of_mode(network: Transducer, mode_names: Sequence[str], mode: Mode) -> dict[str, Tensor]:
    """The network's tensors without masks and without the norms of other modes."""
    others = {f".norms.{name}." for name in mode_names if name != mode.name}
    masks = {f"{name}.{key}" for name, one in prunable_layers(network).items() for key, _ in one.named_buffers()}
    tensors = network.state_dict()
    return {key: value for key, value in tensors.items() if key not in masks and not any(one in key for one in others)}


def linear_weights(network: Transducer) -> set[str]:
    """Keys of the encoder's linear weights, those that a step with 8-bit arithmetic quantises."""
    layers = {name for name, one in network.named_modules() if type(one) is nn.Linear} | set(prunable_layers(network))
    return {f"{name}.weight" for name in layers if name.startswith("encoder.")}


def write_compact(folder: Path, trained: Trained, mode: Mode, masks: Masks, int8: bool) -> CompactFacts:
    """Write an experiment folder that decodes as `mode` of `trained` does under `masks`.

    Args:
        folder: to write, whole or not at all.
        trained: the network.
        mode: of the network.
        masks: what is left out.
        int8: store the encoder's linear weights in 8 bits, a scale for each output.
    """
    network = trained.network
    tensors = tensors_of_mode(network, list(trained.system.modes), mode)
    by_key = {f"{name}.weight": mask for name, mask in masks.by_layer.items()}
    packed, metadata = pack(tensors, by_key, masks.pattern, linear_weights(network) if int8 else ())
    removed = sum(int((~mask).sum()) for mask in by_key.values())
    prunable = sum(layer.weight.numel() for layer in prunable_layers(network).values())
    with atomic_folder(folder) as temporary:
        temporary.mkdir()
        written = Experiment(temporary, writes=False)
        save_network(written.network_file, packed, metadata)
        write_text(written.config_file, dump(alone(trained.system, mode)))
        shutil.copytree(trained.folder / "lang", temporary / "lang")
        if (trained.folder / "fbank.json").exists():
            shutil.copyfile(trained.folder / "fbank.json", temporary / "fbank.json")
        compact = load(temporary)
        precisions: list[Precision] = ["float32", "int8"] if mode.left_context is not None else []
        facts = CompactFacts(
            mode.name,
            removed / prunable if prunable else 0.0,
            str(masks.pattern),
            masks.trained,
            int8,
            compact.network.num_parameters(),
            compact.network.num_parameters() - removed,
            written.network_file.stat().st_size,
            Experiment(trained.folder, writes=False).network_file.stat().st_size,
            {one: streaming_speed(compact.network.encoder, compact.mode(mode.name), one) for one in precisions},
        )
        write_text(temporary / "extract.json", json.dumps(asdict(facts), indent=2) + "\n")
    return facts
