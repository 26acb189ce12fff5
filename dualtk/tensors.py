"""Files of named tensors; none of them can run code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from dualtk.errors import InputError
from dualtk.files import atomic_path

Tensors = dict[str, Tensor]

CHECKSUM = "dualtk_checksum"  # in the metadata of a safetensors file


def checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """BLAKE2 over names, types, shapes and values of tensors, and over the metadata, in the order of their names."""
    total = hashlib.blake2b(digest_size=16)
    total.update(json.dumps(sorted(metadata.items())).encode())
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        total.update(json.dumps([name, str(value.dtype), list(value.shape)]).encode())
        total.update(value.view(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def write_safetensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None, *, durable: bool = True
) -> None:
    """Write a safetensors file with a checksum in its metadata, whole or not at all; see `atomic_path`."""
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    known = dict(metadata or {})
    known[CHECKSUM] = checksum(plain, known)
    with atomic_path(path, durable=durable) as temporary:
        temporary.write_bytes(save(plain, known))  # its own writing to a file makes a temporary one beside it


def read_safetensors(path: Path) -> tuple[Tensors, dict[str, str]]:
    """The tensors of a safetensors file as they stand there, and its metadata.

    Raises:
        InputError: it cannot be read, or it has a checksum (see `write_safetensors`) and that is not of its contents.
    """
    try:
        with safe_open(path, "pt") as file:
            tensors: Tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
            metadata = dict(file.metadata() or {})
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; has training finished an evaluation?") from error
    except PermissionError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a safetensors file: {error}") from error
    known = metadata.pop(CHECKSUM, None)
    if known is not None and known != checksum(tensors, metadata):
        raise InputError(f"{path}: damaged: its contents do not have their checksum")
    return tensors, metadata


def require_finite(tensors: Tensors, path: Path) -> Tensors:
    """The tensors of the file `path`, if all their values are numbers.

    Raises:
        InputError: names the first tensor of which some are not.
    """
    for key, value in tensors.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            count = value.numel() - int(value.isfinite().sum())
            raise InputError(f"{path}: {key}: {count} of {value.numel()} weights are not finite")
    return tensors


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


def read_state_dict(path: Path) -> Tensors:
    """The tensors of a file from elsewhere: safetensors, or what `torch.save(model.state_dict(), path)` wrote.

    Raises:
        InputError: it is neither, or a value is not finite.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(9)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if start[8:] == b"{":  # of safetensors: eight bytes of a length, then JSON
        return require_finite(read_safetensors(path)[0], path)
    fault = InputError(f"{path}: neither safetensors nor a state dict that torch.save wrote")
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds, of many lines
        raise fault from error
    if not isinstance(tensors, Mapping):
        raise fault
    if not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in tensors.items()):
        raise fault
    return require_finite(dict(tensors), path)
