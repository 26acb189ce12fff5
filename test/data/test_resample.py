"""Whole signals at another rate: against the signal itself, and other resamplers; no rate costs gigabytes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from peers import torchaudio

from dualtk.data import resample as resampling
from dualtk.data.resample import StreamingResampler, resample


def tones(rate, seconds=1.0):
    """Tones well below half of every rate here, fading in and out."""
    time = torch.arange(round(rate * seconds), dtype=torch.float64) / rate
    signal = sum(torch.sin(2 * math.pi * hertz * time) for hertz in (150.0, 440.0, 1230.0)) / 4
    return (signal * torch.sin(math.pi * time / seconds).square()).float()


@pytest.mark.parametrize("rates", [(16001, 16000), (15999, 16000), (44101, 8000), (191999, 16000), (4001, 16000)])
def test_rates_without_a_common_divisor(rates, monkeypatch):
    """The weights of one convolution would be hundreds of millions."""

    def refuse(*arguments):
        raise AssertionError("a kernel of gigabytes")

    monkeypatch.setattr(resampling, "_polyphase", refuse)
    source, target = rates
    found = resample(tones(source), source, target)
    assert len(found) == math.ceil(source * target / source)
    torch.testing.assert_close(found, tones(target), atol=2e-3, rtol=0)


@pytest.mark.parametrize("source", [8000, 11025, 14400, 17600, 22050, 39690, 44100, 48000])
def test_the_bits_of_torchaudio(source):
    """Features that were stored when torchaudio resampled stay what they are."""
    samples = torch.rand(source // 3 + 1, generator=torch.Generator().manual_seed(source)) - 0.5
    for target in (16000, 8000):
        if source != target:
            expected = torchaudio.functional.resample(samples, source, target)
            assert torch.equal(resample(samples, source, target), expected)


def test_nothing_stays_nothing():
    assert resample(torch.zeros(0), 44100, 16000).shape == (0,)


@pytest.mark.parametrize("rates", [(16000, 8000), (8000, 16000), (44100, 16000), (14400, 16000)])
def test_both_ways_are_one_filter(rates):
    source, target = rates
    stream = StreamingResampler(source, target)
    signal = tones(source)
    pieces = torch.cat([stream.accept(signal[:5000]), stream.accept(signal[5000:]), stream.finish()])
    torch.testing.assert_close(resample(signal, source, target), pieces, atol=2e-5, rtol=0)


@pytest.mark.parametrize("rates", [(16001, 16000), (44100, 16000), (48000, 8000)])
def test_as_soxr(rates):
    soxr = pytest.importorskip("soxr")
    source, target = rates
    expected = torch.from_numpy(soxr.resample(tones(source).numpy().astype(np.float64), source, target)).float()
    found = resample(tones(source), source, target)
    torch.testing.assert_close(found[: len(expected)], expected[: len(found)], atol=2e-3, rtol=0)
