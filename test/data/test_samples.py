"""Raw samples as features: whole, in pieces, in a data directory, and what the configuration says of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from peers import torchaudio

from dualtk.data.arks import read_cmvn
from dualtk.data.dataset import FeatureDataset
from dualtk.data.fbank import FbankOptions
from dualtk.data.kinds import open_stream, read_options, require_features
from dualtk.data.samples import SampleOptions, SampleStream, sample_frames
from dualtk.data.selection import select_utterances
from dualtk.data.validation import validate
from dualtk.errors import InputError
from dualtk.system import load

OPTIONS = SampleOptions()


def noise(num_samples: int) -> torch.Tensor:
    return 0.1 * torch.randn(num_samples, generator=torch.Generator().manual_seed(num_samples))


def test_frames_are_the_samples() -> None:
    samples = noise(1000)
    frames = sample_frames(samples, 16000, OPTIONS)
    assert frames.shape == (7, 160)
    torch.testing.assert_close(frames.flatten()[:1000], samples, atol=0, rtol=0)
    assert bool((frames.flatten()[1000:] == 0).all())
    with pytest.raises(InputError, match="no audio"):
        sample_frames(torch.zeros(0), 16000, OPTIONS)


def test_speed_and_rate_are_one_resampling() -> None:
    samples = noise(4410)
    expected = torchaudio.functional.resample(samples, 39690, 16000)
    torch.testing.assert_close(sample_frames(samples, 44100, OPTIONS, 0.9).flatten()[: len(expected)], expected)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 159, 160, 161, 777, 10**6])
@pytest.mark.parametrize("rate", [16000, 8000])
def test_pieces_give_the_frames_of_the_whole(size: int, rate: int) -> None:
    samples = noise(1903)
    stream: SampleStream = SampleStream(OPTIONS)
    pieces = []
    for piece in samples.split(size):
        pieces.append(stream.accept(piece, rate))
        saved, stream = stream.save(), SampleStream(OPTIONS)
        stream.restore(saved)
    whole = torch.cat([*pieces, stream.finish()])
    torch.testing.assert_close(whole, sample_frames(samples, rate, OPTIONS), atol=1e-5, rtol=0)


def test_bad_pieces_are_refused() -> None:
    stream = SampleStream(OPTIONS)
    stream.accept(noise(100), 16000)
    with pytest.raises(InputError, match="changed from 16000 to 8000"):
        stream.accept(noise(100), 8000)
    with pytest.raises(InputError, match="not numbers"):
        stream.accept(torch.full((3,), torch.nan), 16000)
    assert len(SampleStream(OPTIONS).finish()) == 0


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for index in range(3):
        soundfile.write(tmp_path / f"u{index}.wav", noise(3000 + 500 * index).numpy(), 16000, subtype="FLOAT")
    names = [f"u{index}" for index in range(3)]
    (tmp_path / "wav.scp").write_text("".join(f"{name} {tmp_path / name}.wav\n" for name in names))
    (tmp_path / "utt2spk").write_text("".join(f"{name} s\n" for name in names))
    return tmp_path


@pytest.mark.parametrize("speeds", [(1.0,), (0.9, 1.0)])
def test_a_data_directory_needs_no_transcripts(
    directory: Path, extract_features: Callable[..., Path], speeds: tuple[float, ...]
) -> None:
    folder = extract_features(directory, OPTIONS, speeds=speeds)
    assert not (folder / "text").exists()
    assert validate(folder, needs_text=False) == []
    assert len(FeatureDataset(select_utterances(folder))) == 3 * len(speeds)


def test_frames_and_statistics_of_a_directory(directory: Path, extract_features: Callable[..., Path]) -> None:
    directory = extract_features(directory, OPTIONS, cmvn=True)
    assert read_options(directory) == OPTIONS
    assert isinstance(open_stream(read_options(directory)), SampleStream)
    require_features(directory, OPTIONS)
    with pytest.raises(InputError, match=r"fbank\.json: kind of the features is samples, .* features\.kind fbank"):
        require_features(directory, FbankOptions())
    (directory / "fbank.json").unlink()
    with pytest.raises(InputError, match=r"kind of the features is fbank, .* features\.kind samples"):
        require_features(directory, OPTIONS)
    dataset = FeatureDataset(select_utterances(directory))
    assert dataset.dim == 160
    torch.testing.assert_close(dataset[1].feats, sample_frames(noise(3500), 16000, OPTIONS), atol=0, rtol=0)
    mean, istd = read_cmvn(directory / "cmvn.ark")
    everything = np.concatenate([dataset[index].feats.numpy().ravel() for index in range(3)])
    torch.testing.assert_close(mean, torch.full((160,), float(everything.mean())), atol=1e-6, rtol=0)
    torch.testing.assert_close(istd, torch.full((160,), float(1 / everything.std())), atol=1e-3, rtol=1e-4)


CONFIG = Path(__file__).resolve().parents[1] / "conf/dual_conformer.yaml"


@pytest.mark.parametrize("key", ["frequency_warp", "channel", "num_frequency_masks"])
def test_augmentation_of_frequencies_is_refused(key: str) -> None:
    values = "frequency_warp: 0, channel: 0, num_frequency_masks: 0"
    values = values.replace(f"{key}: 0", f"{key}: {1 if key.startswith('num') else 0.5}")
    assert load(CONFIG, overrides=["features={kind: samples}", "augment=null"]).features.dim == 160
    with pytest.raises(InputError, match=rf"augment\.{key}: raw samples"):
        load(CONFIG, overrides=["features={kind: samples}", f"augment={{{values}}}"])


def test_faults_of_the_section_name_the_key() -> None:
    with pytest.raises(InputError, match=r"features\.num_mels: unknown key"):
        load(CONFIG, overrides=["features={kind: samples, num_mels: 80}"])
    with pytest.raises(InputError, match=r"features\.num_mels: must be a whole number, not 'many'"):
        load(CONFIG, overrides=["features={num_mels: many}"])
    with pytest.raises(InputError, match=r"features\.kind: must be one of fbank, samples, not 'mfcc'"):
        load(CONFIG, overrides=["features={kind: mfcc}"])
