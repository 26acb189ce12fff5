"""Checkpoints: all that a run needs to go on as if it had never stopped, and the averaged network for decoding.

Training state is loaded with `weights_only=True` and networks are safetensors: no checkpoint can run code.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from dualtk.errors import InputError
from dualtk.files import atomic_path
from dualtk.tensors import Tensors, read_safetensors


def save_training(path: Path, state: dict[str, Any]) -> None:
    """Write a training state, whole or not at all."""
    with atomic_path(path) as temporary:
        torch.save(state, temporary)


def load_training(path: Path, device: torch.device) -> dict[str, Any]:
    """Read a training state; a file that is damaged or holds anything but tensors and plain values is refused."""
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged or hostile file
        raise InputError(f"{path}: not a training checkpoint: {str(error).splitlines()[0]}") from error
    return state


def save_network(path: Path, tensors: Tensors, metadata: dict[str, str] | None = None) -> None:
    """Write a network's state dict as safetensors, whole or not at all."""
    with atomic_path(path) as temporary:
        save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, temporary, metadata)


def load_network(path: Path, network: nn.Module) -> None:
    """Fill `network` from a file that `save_network` wrote; see `fill_network`."""
    fill_network(network, read_safetensors(path)[0], path)


def fill_network(network: nn.Module, tensors: Tensors, path: Path) -> None:
    """Fill `network` with the tensors of the file `path`.

    Raises:
        InputError: the file was made by another configuration; names the first key that differs.
    """
    own = network.state_dict()
    for key in sorted(own.keys() | tensors.keys()):
        if key not in tensors:
            raise InputError(f"{path}: has no {key}: made with another configuration")
        if key not in own:
            raise InputError(f"{path}: has {key}, which this configuration does not: made with another configuration")
        if own[key].shape != tensors[key].shape:
            raise InputError(
                f"{path}: {key} is {tuple(tensors[key].shape)}, this configuration makes it {tuple(own[key].shape)}"
            )
    network.load_state_dict(tensors)


def average(paths: Sequence[Path]) -> Tensors:
    """Mean of networks, key by key; counters are taken from the last."""
    total, _ = read_safetensors(paths[0])
    sums = {key: value.double() for key, value in total.items() if value.is_floating_point()}
    for path in paths[1:]:
        total, _ = read_safetensors(path)
        for key, value in sums.items():
            value += total[key].double()
    return {key: (sums[key] / len(paths)).to(value.dtype) if key in sums else value for key, value in total.items()}
