"""Files of named tensors; none of them can run code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dualtk.errors import InputError

Tensors = dict[str, Tensor]


def read_safetensors(path: Path) -> tuple[Tensors, dict[str, str]]:
    """The tensors of a safetensors file as they stand there, and its metadata."""
    try:
        with safe_open(path, "pt") as file:
            tensors: Tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
            return tensors, file.metadata() or {}
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; has training finished an evaluation?") from error
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a safetensors file: {error}") from error


def read_state_dict(path: Path) -> Tensors:
    """The tensors of a file from elsewhere: safetensors, or what `torch.save(model.state_dict(), path)` wrote.

    Raises:
        InputError: it is neither.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(9)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if start[8:] == b"{":  # of safetensors: eight bytes of a length, then JSON
        return read_safetensors(path)[0]
    fault = InputError(f"{path}: neither safetensors nor a state dict that torch.save wrote")
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds, of many lines
        raise fault from error
    if not isinstance(tensors, Mapping):
        raise fault
    if not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in tensors.items()):
        raise fault
    return dict(tensors)
