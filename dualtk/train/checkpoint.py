"""Checkpoints: all that a run needs to go on as if it had never stopped, and the averaged network for decoding.

Training state is loaded with `weights_only=True` and networks are safetensors: no checkpoint can run code. Both carry
checksums: those of the zip archive that torch writes, and `dualtk.tensors.checksum` in the metadata of a network.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import nn

from dualtk.errors import InputError
from dualtk.files import atomic_path
from dualtk.tensors import Tensors, fill_network, read_safetensors, write_safetensors


class _Stream(io.RawIOBase):
    """What torch.save writes to; it hides an error of the system behind one of its own, so that is kept here."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.error: OSError | None = None

    def writable(self) -> bool:
        """See `io.IOBase`."""
        return True

    def write(self, block: Any) -> int:
        """See `io.RawIOBase`."""
        try:
            return self.stream.write(block)
        except OSError as error:
            self.error = error
            raise


def save_training(path: Path, state: dict[str, Any]) -> None:
    """Write a training state, whole or not at all."""
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        watched = _Stream(stream)
        try:
            torch.save(state, watched)  # type: ignore[arg-type]  # it asks for no more than this
            stream.flush()
        except RuntimeError:
            if watched.error is None:
                raise
            raise watched.error from None


def load_training(path: Path, device: torch.device) -> dict[str, Any]:
    """Read a training state; a file that is damaged or holds anything but tensors and plain values is refused."""
    _require_whole(path)
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged or hostile file
        raise InputError(f"{path}: not a training checkpoint: {str(error).splitlines()[0]}") from error
    return state


def _require_whole(path: Path) -> None:
    """Compare each part of the archive with its checksum, which torch does not when it reads.

    Raises:
        InputError: a part is damaged, or it is no such archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip() or next((one.filename for one in archive.infolist() if _is_folder(one)), None)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:  # zipfile raises many kinds for a damaged file
        raise InputError(f"{path}: not a training checkpoint, or a damaged one: {error}") from error
    if damaged is not None:
        raise InputError(f"{path}: damaged: {damaged} does not have its checksum; remove it to begin anew")


def _is_folder(part: zipfile.ZipInfo) -> bool:
    """Whether a part says that it is a folder, of which torch reads nothing and leaves its memory as it was."""
    return bool(part.external_attr & 0x10)


def save_network(path: Path, tensors: Tensors, metadata: dict[str, str] | None = None) -> None:
    """Write a network's state dict as safetensors, whole or not at all."""
    write_safetensors(path, tensors, metadata)


def load_network(path: Path, network: nn.Module) -> None:
    """Fill `network` from a file that `save_network` wrote; see `fill_network`."""
    fill_network(network, read_safetensors(path)[0], path)


def average(paths: Sequence[Path]) -> Tensors:
    """Mean of networks, key by key; counters are taken from the last."""
    total, _ = read_safetensors(paths[0])
    sums = {key: value.double() for key, value in total.items() if value.is_floating_point()}
    for path in paths[1:]:
        total, _ = read_safetensors(path)
        for key, value in sums.items():
            value += total[key].double()
    return {key: (sums[key] / len(paths)).to(value.dtype) if key in sums else value for key, value in total.items()}
