"""Audio piece by piece, from files of any format or from a pipe. N samples."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import torch
from torch import Tensor

from dualtk.errors import InputError

Piece = tuple[Tensor, int]  # samples (N,) in [-1, 1], and their rate in Hz
RAW_RATE = 16000


def file_pieces(path: Path, seconds: float) -> Iterator[Piece]:
    """The samples of an audio file, `seconds` at a time; channels are averaged.

    Raises:
        InputError: the file is missing, or cannot be decoded to its end.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with soundfile.SoundFile(str(path)) as file:
            size = max(1, round(seconds * file.samplerate))
            while len(block := file.read(size, dtype="float32", always_2d=True)):
                yield torch.from_numpy(block.mean(axis=1)), file.samplerate
    except (soundfile.SoundFileError, OSError) as error:
        reason = str(getattr(error, "error_string", error)).strip().rstrip(".").replace("\n", " ")
        raise InputError(f"{path}: cannot be decoded ({reason})") from error


def raw_pieces(stream: BinaryIO, seconds: float) -> Iterator[Piece]:
    """Raw PCM of 16 bits (little-endian, mono, 16 kHz) as it arrives, at most `seconds` at a time."""
    size = max(2, 2 * round(seconds * RAW_RATE))
    read = getattr(stream, "read1", stream.read)  # what is there, rather than waiting for all
    rest = b""
    while block := read(size):
        block = rest + block
        whole = len(block) // 2 * 2
        rest = block[whole:]
        if whole:
            samples = np.frombuffer(block[:whole], dtype="<i2").astype(np.float32) / 32768.0
            yield torch.from_numpy(samples), RAW_RATE
