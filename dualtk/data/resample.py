"""Any sample rate to the one of the features, piece by piece. N samples, W half the width of the filter."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

NUM_ZEROS = 6  # zero crossings of the sinc on either side
ROLLOFF = 0.99  # cut-off, of half the lower rate
PIECE = 1 << 15  # outputs computed at once: bounds the memory that a large piece of audio takes
MAX_TABLE = 1 << 12  # phases of the filter that are worth remembering
MAX_KERNEL = 1 << 23  # weights of one convolution: those of 16,001 to 16,000 Hz would be 256 million


def resample(samples: Tensor, source_rate: int, target_rate: int) -> Tensor:
    """A whole signal (N,) at another rate in Hz; the same tensor where the rates are equal.

    One strided convolution has a weight for every input of a period of both rates and every output of it; where that
    is too many, as for rates without a common divisor, the same filter is evaluated output by output.
    """
    if source_rate == target_rate:
        return samples
    divisor = math.gcd(source_rate, target_rate)
    source, target = source_rate // divisor, target_rate // divisor
    if source * target > MAX_KERNEL:
        resampler = StreamingResampler(source_rate, target_rate)
        return torch.cat([resampler.accept(samples), resampler.finish()])
    weights = _polyphase(source, target, samples.dtype)
    width = (weights.shape[-1] - source) // 2
    padded = functional.pad(samples.view(1, 1, -1), (width, width + source))
    phases = functional.conv1d(padded, weights, stride=source)  # (1, target, periods)
    return phases[0].T.reshape(-1)[: math.ceil(target * len(samples) / source)]


def resampled_length(num_samples: int, source_rate: int, target_rate: int) -> int:
    """Samples that `resample` makes of so many."""
    return -(-num_samples * target_rate // source_rate)


@lru_cache(maxsize=8)
def _polyphase(source: int, target: int, dtype: torch.dtype) -> Tensor:
    """The filters (target, 1, 2W + source) that make the `target` outputs of a period out of `source` inputs.

    Computed in the precision of the signal and in the order of torchaudio's function of this purpose: what either
    resamples is equal to the bit, so features made with it stay as they are.
    """
    base = min(source, target) * ROLLOFF
    width = math.ceil(NUM_ZEROS * source / base)
    inputs = torch.arange(-width, width + source, dtype=dtype) / source
    phases = torch.arange(0, -target, -1, dtype=dtype).unsqueeze(1) / target
    time = ((phases + inputs) * base).clamp(-NUM_ZEROS, NUM_ZEROS)
    window = torch.cos(time * math.pi / NUM_ZEROS / 2).square()
    angle = time * math.pi
    sinc = torch.where(angle == 0, 1.0, angle.sin() / angle)
    return (sinc * (window * (base / source))).unsqueeze(1)


class StreamingResampler:
    """Band-limited interpolation by a windowed sinc: piece by piece what `resample` does at once.

    The filter is finite, so pieces give exactly what the whole would. Each output has its own weights, so rates without
    a large common divisor cost no more than others.

    Args:
        source_rate: samples per second of the input.
        target_rate: of the output.
    """

    def __init__(self, source_rate: int, target_rate: int) -> None:
        divisor = math.gcd(source_rate, target_rate)
        self.source, self.target = source_rate // divisor, target_rate // divisor
        base = min(self.source, self.target) * ROLLOFF
        self.bandwidth = base / self.source
        self.width = math.ceil(NUM_ZEROS / self.bandwidth)
        self._taps = torch.arange(1 - self.width, self.width + 1)
        small = self.target <= MAX_TABLE
        self._table = self._weights(torch.arange(self.target)) if small else None
        self._buffer = torch.zeros(self.width)  # the input from sample `_first` on; zeros stand before the signal
        self._first = -self.width
        self._taken = 0
        self._given = 0

    def _weights(self, phase: Tensor) -> Tensor:
        """Filter weights (N, 2W) of outputs that lie `phase` / target samples after the last input before them."""
        time = (self._taps - phase.unsqueeze(1).double() / self.target) * self.bandwidth
        window = torch.cos(time.clamp(-NUM_ZEROS, NUM_ZEROS) * (math.pi / NUM_ZEROS / 2)).square()
        return (torch.sinc(time) * window * self.bandwidth).float()

    def accept(self, samples: Tensor) -> Tensor:
        """The outputs (M,) that (N,) more samples complete."""
        if self.source == self.target:
            return samples
        self._buffer = torch.cat([self._buffer, samples])
        self._taken += len(samples)
        # Output j needs the inputs up to floor(j * source / target) + width.
        return self._produce(max((self._taken - self.width) * self.target + self.source - 1, 0) // self.source)

    def finish(self) -> Tensor:
        """The last outputs; beyond its end the signal is zero."""
        if self.source == self.target:
            return self._buffer[:0]
        self._buffer = torch.cat([self._buffer, torch.zeros(self.width + 1)])
        return self._produce(-(-self._taken * self.target // self.source))

    def _produce(self, end: int) -> Tensor:
        """Outputs from the first that was not given to `end`; forgets the inputs that no later one needs."""
        pieces = [torch.zeros(0)]
        while self._given < end:
            numbers = torch.arange(self._given, min(end, self._given + PIECE)) * self.source
            position, phase = numbers // self.target, numbers % self.target
            weights = self._weights(phase) if self._table is None else self._table[phase]
            inputs = self._buffer[position.unsqueeze(1) + (self._taps - self._first)]
            pieces.append((inputs * weights).sum(1))
            self._given += len(numbers)
        needed = self._given * self.source // self.target - self.width + 1
        if needed > self._first:
            self._buffer, self._first = self._buffer[needed - self._first :].clone(), needed
        return torch.cat(pieces)

    def save(self) -> dict[str, Any]:
        """Tensors and numbers that `restore` takes."""
        return {"buffer": self._buffer, "first": self._first, "taken": self._taken, "given": self._given}

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on where another resampler of the same rates was saved."""
        self._buffer, self._first = saved["buffer"], saved["first"]
        self._taken, self._given = saved["taken"], saved["given"]
