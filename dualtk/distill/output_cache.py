"""Outputs of a frozen teacher's encoder, kept on disk: without augmentation they are the same in every epoch.

An utterance is known by the features that the teacher reads, so whatever changes them (other features, other
statistics) is another entry. The first value of an utterance is kept for good, which makes a run that was killed and
continued equal to one that was not. Against a run without the cache, an utterance that returns in a batch of another
shape differs by rounding only.

Axes: B batch, T feature frames, T' output frames, F features, D width, H heads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from dualtk.encoders.base import EncoderOutput
from dualtk.errors import InputError
from dualtk.tensors import read_safetensors, write_safetensors

Entry = dict[str, Tensor]  # "frames" (T', D), "hidden.I" (rate * T', D) and "heads.I" (H, T', D/H) of one utterance


class OutputCache:
    """One safetensors file an utterance.

    Args:
        folder: of one teacher in one mode; made when the first utterance is kept.
        subsampling: of its encoder.
        keep_hidden: keep the hidden vectors of every block too, for a term that reads them.
    """

    def __init__(self, folder: Path, subsampling: int, *, keep_hidden: bool) -> None:
        self.folder = folder
        self.subsampling = subsampling
        self.keep_hidden = keep_hidden

    def __call__(self, feats: Tensor, lengths: Tensor, encode: Callable[[], EncoderOutput]) -> EncoderOutput:
        """Feats (B, T, F) that the teacher reads, with lengths (B,) -> what `encode` gives for them, or gave before.

        Raises:
            InputError: an entry is damaged.
        """
        paths = [self._path(one[:length]) for one, length in zip(feats, lengths.tolist())]
        entries = [_read(path, feats.device) for path in paths]
        output_lengths = torch.div(lengths + self.subsampling - 1, self.subsampling, rounding_mode="floor")
        if not all(entries):
            fresh = encode()
            for index, (path, length) in enumerate(zip(paths, output_lengths.tolist())):
                if not entries[index]:
                    entries[index] = _cut(fresh, index, length, self.keep_hidden)
                    _write(path, entries[index])
        return _join(entries, output_lengths, -(-feats.shape[1] // self.subsampling))

    def _path(self, feats: Tensor) -> Path:
        name = hashlib.blake2b(feats.detach().cpu().contiguous().numpy().tobytes(), digest_size=16).hexdigest()
        return self.folder / name[:2] / f"{name[2:]}.safetensors"


def _read(path: Path, device: torch.device) -> Entry:
    """The entry, empty where there is none."""
    if not path.exists():
        return {}
    try:
        tensors, _ = read_safetensors(path)
    except InputError as error:
        raise InputError(f"{path}: not an output of the teacher; remove it: {error}") from error
    return {name: value.to(device) for name, value in tensors.items()}


def _write(path: Path, entry: Entry) -> None:
    # Copies: a file has no room for tensors that share memory, as the frames and the last block's output may.
    write_safetensors(path, {name: value.cpu().clone() for name, value in entry.items()}, durable=False)


def _cut(output: EncoderOutput, index: int, length: int, keep_hidden: bool) -> Entry:
    """The valid frames of utterance `index`; a block before a time reduction has several to an output frame."""
    named = {"frames": output.frames}
    if keep_hidden:
        named |= {f"hidden.{layer}": value for layer, value in enumerate(output.hidden)}
    named |= {f"heads.{layer}": value for layer, value in enumerate(output.heads)}
    num_frames = output.frames.shape[1]
    return {
        name: value[index, ..., : length * (value.shape[-2] // num_frames), :].detach() for name, value in named.items()
    }


def _join(entries: list[Entry], lengths: Tensor, num_frames: int) -> EncoderOutput:
    """A batch of `num_frames` output frames, zeros beyond each length."""

    def padded(name: str) -> Tensor:
        values = [entry[name] for entry in entries]
        rates = [value.shape[-2] // entry["frames"].shape[0] for value, entry in zip(values, entries)]
        return torch.stack(
            [
                functional.pad(value, (0, 0, 0, num_frames * rate - value.shape[-2]))
                for value, rate in zip(values, rates)
            ]
        )

    def layers(kind: str) -> list[Tensor]:
        return [padded(f"{kind}.{layer}") for layer in range(sum(name.startswith(f"{kind}.") for name in entries[0]))]

    return EncoderOutput(padded("frames"), lengths, layers("hidden"), layers("heads"))
