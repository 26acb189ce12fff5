from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from dualtk.ctm import Word, read_ctm
from dualtk.score.endpoints import Endpoints, endpoints_from_ctm, estimate_endpoints


def test_ctm() -> None:
    ctm = {"a": [Word("<eps>", 0, 0.2), Word("HI", 0.2, 0.5), Word("SIL", 0.5, 2.0)], "b": [Word("sil", 0, 1)]}
    assert endpoints_from_ctm(ctm) == {"a": Endpoints(0.2, 0.5)}


def test_tone_between_silences() -> None:
    generator = np.random.default_rng(0)
    samples = generator.normal(0, 1e-4, 32000)
    samples[8000:24000] += 0.1 * np.sin(np.arange(16000) * 0.2)
    found = estimate_endpoints(samples.astype(np.float32), 16000)
    assert found.start == pytest.approx(0.5, abs=0.02)
    assert found.end == pytest.approx(1.5, abs=0.02)


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros(100), np.zeros(16000), np.full(16000, 0.5)])
def test_nothing_to_find(samples: np.ndarray) -> None:
    assert estimate_endpoints(samples.astype(np.float32), 16000) == Endpoints(0.0, len(samples) / 16000)


def test_a_click_after_the_end_is_not_speech() -> None:
    samples = np.random.default_rng(0).normal(0, 1e-4, 32000)
    samples[8000:16000] += 0.1 * np.sin(np.arange(8000) * 0.2)
    samples[30000:30020] += 0.3
    assert estimate_endpoints(samples.astype(np.float32), 16000).end == pytest.approx(1.0, abs=0.02)


@pytest.mark.slow
def test_real_speech_ends_where_its_alignment_does(test_data: Path) -> None:
    folder = test_data / "librispeech-mini"
    ctm = endpoints_from_ctm(read_ctm(folder / "test-aligned.ctm"))
    errors = []
    for audio in sorted((folder / "LibriSpeech" / "test-aligned").rglob("*.opus"))[:40]:
        if audio.stem in ctm:
            samples, rate = soundfile.read(audio, dtype="float32")
            errors.append(estimate_endpoints(samples, rate).end - ctm[audio.stem].end)
    assert abs(np.median(errors)) < 0.06
    assert np.percentile(np.abs(errors), 90) < 0.25
