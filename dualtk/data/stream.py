"""Features of a stream: audio in pieces of any size, the same frames as `fbank` of the whole. N samples, T frames."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dualtk.data.audio import check_piece
from dualtk.data.fbank import DEFAULT_OPTIONS, PIECE, FbankOptions, log_mel_of
from dualtk.data.resample import StreamingResampler
from dualtk.frames import FRAME_SECONDS


class FbankStream:
    """Log-mel features of one stream; together the frames equal those of `fbank` on the whole signal.

    A frame is given as soon as its whole window has arrived. The windows at both ends reflect the signal there, so the
    last frames come with `finish`. A signal shorter than one window has no frames.

    Args:
        options: of the features that the network was trained on.
    """

    def __init__(self, options: FbankOptions = DEFAULT_OPTIONS) -> None:
        self.options = options
        self._log_mel = log_mel_of(options)
        self._size = self._log_mel.size
        self._shift = int(options.sample_rate * FRAME_SECONDS)
        self._before = self._size // 2 - self._shift // 2  # samples by which a window starts before its frame
        self._rate: int | None = None
        self._resampler: StreamingResampler | None = None
        self._buffer = torch.zeros(0)  # from the start of the next window on; reflected at the start of the stream
        self._num_samples = 0
        self._num_frames = 0

    def accept(self, samples: Tensor, sample_rate: int) -> Tensor:
        """Samples (N,) in [-1, 1] at `sample_rate` Hz -> the frames (T, F) that they complete, T from 0.

        Raises:
            InputError: samples that are no mono signal or no numbers, a rate below 4 kHz, or other than before. The
                stream is as it was, and goes on with the next good samples.
        """
        check_piece(samples, sample_rate, self._rate)
        if self._resampler is None:
            self._rate, self._resampler = sample_rate, StreamingResampler(sample_rate, self.options.sample_rate)
        return self._extend(self._resampler.accept(samples.to(torch.float32)))

    def _extend(self, samples: Tensor) -> Tensor:
        started = self._num_samples >= self._size
        self._buffer = torch.cat([self._buffer, samples])
        self._num_samples += len(samples)
        if self._num_samples < self._size:
            return torch.zeros(0, self.options.num_mels)
        if not started:
            self._buffer = torch.cat([self._buffer[: self._before].flip(0), self._buffer])
        return self._frames((len(self._buffer) - self._size) // self._shift + 1)

    def finish(self) -> Tensor:
        """The last frames (T, F): no more samples will come."""
        pieces = []
        if self._resampler is not None:
            pieces.append(self._extend(self._resampler.finish()))
        if self._num_samples >= self._size:
            total = (self._num_samples + self._shift // 2) // self._shift
            self._buffer = torch.cat([self._buffer, self._buffer[-self._size :].flip(0)])
            pieces.append(self._frames(total - self._num_frames))
        return torch.cat([torch.zeros(0, self.options.num_mels), *pieces])

    def _frames(self, count: int) -> Tensor:
        """The next `count` frames; forgets the samples that only they needed."""
        pieces = [torch.zeros(0, self.options.num_mels)]
        if count > 0:
            windows = self._buffer.unfold(0, self._size, self._shift)[:count]
            pieces += [self._log_mel(windows[start : start + PIECE]) for start in range(0, count, PIECE)]
            self._buffer = self._buffer[count * self._shift :].clone()
            self._num_frames += count
        return torch.cat(pieces)

    def save(self) -> dict[str, Any]:
        """Tensors and numbers that `restore` takes."""
        return {
            "rate": self._rate,
            "resampler": None if self._resampler is None else self._resampler.save(),
            "buffer": self._buffer,
            "num_samples": self._num_samples,
            "num_frames": self._num_frames,
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on where another stream with the same options was saved."""
        self._rate, self._resampler = saved["rate"], None
        if self._rate is not None:
            self._resampler = StreamingResampler(self._rate, self.options.sample_rate)
            self._resampler.restore(saved["resampler"])
        self._buffer, self._num_samples, self._num_frames = saved["buffer"], saved["num_samples"], saved["num_frames"]
