"""Take one mode out of a trained network, without the weights that its mask removes, as an experiment folder.

`dualtk decode` and `dualtk transcribe` read the folder like any other. A sparsity that the network was not trained with
is reached by pruning it here, in one shot: above that of training, from the weights that training kept.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from dualtk import config as configuration
from dualtk.bin.decode import find_mode, load_experiment
from dualtk.bin.dualtk import run
from dualtk.config import Config, PassConfig, PruningConfig
from dualtk.data.bpe import Wordpieces
from dualtk.errors import InputError
from dualtk.files import atomic_path, write_text
from dualtk.modes import Mode
from dualtk.pruning.masks import Layers, magnitude_masks, prunable_layers
from dualtk.pruning.packing import pack
from dualtk.pruning.patterns import Pattern, parse_pattern, require_reach
from dualtk.pruning.pruner import measured_sparsity
from dualtk.streaming.compiled_step import Precision, compile_step
from dualtk.train.checkpoint import save_network
from dualtk.train.run import Experiment
from dualtk.transducer.model import Transducer

FRAME_SECONDS = 0.01


def parser() -> argparse.ArgumentParser:
    """The options of `dualtk extract`."""
    options = argparse.ArgumentParser(prog="dualtk extract", description=__doc__)
    options.add_argument("out", type=Path, metavar="OUT", help="experiment folder to write")
    options.add_argument("--exp", type=Path, required=True, metavar="DIR", help="experiment folder of stage 3")
    options.add_argument("--mode", default="streaming", metavar="NAME", help="mode to keep; default: streaming")
    options.add_argument(
        "--sparsity",
        type=float,
        metavar="S",
        help="fraction of the prunable weights to leave out; above the mode's more are left out than in training, "
        "below it weights come back, both in one shot; default: the mode's",
    )
    options.add_argument(
        "--pattern",
        metavar="P",
        help="unstructured, 8x1 or 2:4, for one-shot pruning, also of a network whose masks are unfinished; "
        "default: as trained",
    )
    options.add_argument(
        "--int8", action="store_true", help="store the encoder's linear weights in 8 bits, a scale for each output"
    )
    return options


@dataclass(frozen=True)
class Facts:
    """What was written; sizes in bytes, speeds as real-time factors of the streaming encoder on one thread.

    Attributes:
        trained: whether the network was trained with these masks, or pruned in one shot.
        parameters: of the mode, with those that are masked.
        kept_parameters: of them, those that are stored.
        full_size: of the experiment's network, all modes.
        speed: by precision; empty for a full-context mode.
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

    def lines(self) -> list[str]:
        """The same, to read."""
        how = "as trained" if self.trained else "in one shot"
        lines = [
            f"mode {self.mode}: {100 * self.sparsity:.1f} % of the prunable weights left out ({self.pattern}, {how})",
            f"parameters: {self.kept_parameters} of {self.parameters}",
            f"model.safetensors: {self.size} bytes, was {self.full_size}",
        ]
        return lines + [f"real-time factor of the encoder, {key}: {value:.4f}" for key, value in self.speed.items()]


@dataclass(frozen=True)
class Masks:
    """Masks by layer, how they were made, and whether training made them."""

    by_layer: dict[str, Tensor]
    pattern: Pattern
    trained: bool


def trained_masks(layers: Layers, mode: Mode) -> dict[str, Tensor]:
    """The checkpoint's masks of a mode by layer; none where it is dense."""
    masks = {name: layer.mask(mode.name) for name, layer in layers.items()} if mode.sparsity > 0 else {}
    return {name: mask for name, mask in masks.items() if mask is not None}


def asked_pattern(options: argparse.Namespace, section: PruningConfig, layers: Layers, sparsity: float) -> Pattern:
    """That of --pattern, where it fits the layers, or else that of training; it can remove `sparsity`."""
    if options.pattern is None:
        pattern = parse_pattern(section.pattern)
        require_reach(pattern, sparsity, "--sparsity")
        return pattern
    pattern = parse_pattern(options.pattern, "--pattern")
    require_reach(pattern, sparsity, "--pattern")
    for name, layer in layers.items():
        pattern.check(layer.weight, name, "--pattern")
    return pattern


def choose_masks(options: argparse.Namespace, config: Config, network: Transducer, mode: Mode) -> Masks:
    """Those of the checkpoint where they have the wanted sparsity; else new ones by magnitude, inside those of the
    checkpoint where they remove less than is wanted.

    Raises:
        InputError: a sparsity or a pattern that cannot be, or masks that are asked for as trained and unfinished.
    """
    section = config.pruning or PruningConfig()
    sparsity = mode.sparsity if options.sparsity is None else options.sparsity
    if not 0.0 <= sparsity < 1.0:
        raise InputError(f"--sparsity: must lie in [0, 1), not {sparsity}")
    layers = prunable_layers(network)
    if sparsity > 0 and not layers:
        raise InputError("--sparsity: no layer of the network can be masked")
    pattern = asked_pattern(options, section, layers, sparsity)
    if sparsity == mode.sparsity == 0:
        return Masks({}, pattern, trained=True)
    trained = trained_masks(layers, mode)
    reached = measured_sparsity(trained) if trained else 0.0
    inside = trained if pattern == parse_pattern(section.pattern) and sparsity >= min(mode.sparsity, reached) else {}
    masks = magnitude_masks(layers, pattern, section.scope, sparsity, inside or None)
    # Finished masks have the number of units that rounding gives, so that drawing inside them removes nothing more.
    finished = bool(inside) and all(torch.equal(mask, inside[name]) for name, mask in masks.items())
    if sparsity == mode.sparsity and options.pattern is None and not finished:
        raise InputError(
            f"{options.exp}: the masks of mode {mode.name} remove {100 * reached:.2f} % of the prunable weights, not "
            f"yet {100 * sparsity:.2f} %: resume the training, or prune the rest in one shot by --pattern {pattern}"
        )
    return Masks(masks, pattern, finished)


def of_size(config: Config, mode: Mode, sparsity: float | None) -> Mode:
    """The mode that sees what `mode` sees and was trained with this sparsity (a supernet of many sizes), or `mode`."""
    for other in config.mode_list():
        if other.sparsity == sparsity and replace(other, name=mode.name, sparsity=mode.sparsity) == mode:
            return other
    return mode


def alone(config: Config, mode: Mode) -> Config:
    """The configuration of a network that has `mode` only; its masks are in its weights."""
    section = config.modes[mode.name].model_copy(update={"sparsity": 0.0})
    own = {"modes": {mode.name: section}, "passes": [PassConfig(mode=mode.name)], "terms": [], "pruning": None}
    return config.model_copy(update={**own, "teacher": None, "sampling": None, "sampling_steps": None})


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


def streaming_speed(network: Transducer, mode: Mode, precision: Precision, seconds: float = 4.0) -> float:
    """Time over audio of the compiled encoder, one stream, one thread; the better of two rounds."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    step = compile_step(network.encoder, mode, precision)
    chunk = torch.zeros(1, mode.chunk * network.encoder.subsampling, network.encoder.input_dim)
    steps = round(seconds / (chunk.shape[1] * FRAME_SECONDS)) + 1
    times = []
    with torch.inference_mode():
        for _ in range(3):  # the first warms up
            state = network.encoder.init_state(1, mode)
            began = time.monotonic()
            for _ in range(steps):
                _, state = step(chunk, state)
            times.append((time.monotonic() - began) / (steps * chunk.shape[1] * FRAME_SECONDS))
    torch.set_num_threads(threads)
    return min(times[1:])


def main(argv: Sequence[str] | None = None) -> int:
    """Extract; see `parser` for the options."""
    options = parser().parse_args(argv)
    if options.out.exists():
        raise InputError(f"{options.out}: exists already")
    config, network = load_experiment(options.exp, Wordpieces(options.exp / "lang").vocab_size)
    mode = of_size(config, find_mode(config, options.mode, options.exp), options.sparsity)
    masks = choose_masks(options, config, network, mode)
    tensors = tensors_of_mode(network, list(config.modes), mode)
    by_key = {f"{name}.weight": mask for name, mask in masks.by_layer.items()}
    packed, metadata = pack(tensors, by_key, masks.pattern, linear_weights(network) if options.int8 else ())

    removed = sum(int((~mask).sum()) for mask in by_key.values())
    prunable = sum(layer.weight.numel() for layer in prunable_layers(network).values())
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(options.out) as folder:
        folder.mkdir()
        written = Experiment(folder, writes=False)
        save_network(written.network_file, packed, metadata)
        write_text(written.config_file, configuration.dump(alone(config, mode)))
        shutil.copytree(options.exp / "lang", folder / "lang")
        if (options.exp / "fbank.json").exists():
            shutil.copyfile(options.exp / "fbank.json", folder / "fbank.json")
        _, compact = load_experiment(folder, network.joiner.vocab_size)
        precisions: list[Precision] = ["float32", "int8"] if mode.left_context is not None else []
        dense = replace(mode, sparsity=0.0)
        facts = Facts(
            mode.name,
            removed / prunable if prunable else 0.0,
            str(masks.pattern),
            masks.trained,
            options.int8,
            compact.num_parameters(),
            compact.num_parameters() - removed,
            written.network_file.stat().st_size,
            Experiment(options.exp, writes=False).network_file.stat().st_size,
            {one: streaming_speed(compact, dense, one) for one in precisions},
        )
        write_text(folder / "extract.json", json.dumps(asdict(facts), indent=2) + "\n")
    print("\n".join(facts.lines()))
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
