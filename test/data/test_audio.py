"""Audio files of many kinds: whole ones are read whole, and what a file says of itself is not taken on trust."""

from __future__ import annotations

import shutil
import struct
import subprocess

import kaldiio
import numpy as np
import pytest
import soundfile

from dualtk.data.audio import AudioHeader, read_audio, read_header
from dualtk.data.kaldi import AudioSource, read_audio_sources
from dualtk.errors import InputError
from dualtk.tables import write_table

SAMPLES = np.round(np.random.default_rng(0).uniform(-0.3, 0.3, 8000) * 32768).astype(np.int16)
TIGHT = SAMPLES.astype(np.float32) / 32768.0


def write(path, samples=SAMPLES, rate=16000, **arguments):
    soundfile.write(path, samples, rate, **arguments)
    return path


def read(path, *arguments):
    return read_audio(AudioSource(path, *arguments))[0].numpy()


def sphere(path, coding="pcm", count=8000, content=None, size=1024, order="01", rate=16000, channels=1):
    """A NIST SPHERE file as the Linguistic Data Consortium writes them."""
    fields = {
        "sample_count": f"-i {count}",
        "sample_n_bytes": f"-i {2 if coding.startswith('pcm') else 1}",
        "channel_count": f"-i {channels}",
        "sample_byte_format": f"-s{len(order)} {order}",
        "sample_rate": f"-i {rate}",
        "sample_coding": f"-s{len(coding)} {coding}",
    }
    head = f"NIST_1A\n{size:7d}\n" + "".join(f"{name} {value}\n" for name, value in fields.items()) + "end_head\n"
    path.write_bytes(head.encode().ljust(size) + (SAMPLES.tobytes() if content is None else content))
    return path


@pytest.mark.parametrize("suffix", ["wav", "flac", "aiff", "au", "w64"])
def test_formats(tmp_path, suffix):
    path = write(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(read(path), TIGHT)
    np.testing.assert_array_equal(read(path, 0.1, 0.2), TIGHT[1600:3200])


@pytest.mark.parametrize("suffix", ["wav", "aiff", "au", "sph", "rf64"])
@pytest.mark.parametrize("kept", [7956, 9001])
def test_a_file_that_ends_early(tmp_path, suffix, kept):
    path = tmp_path / f"a.{suffix}"
    if suffix == "sph":
        sphere(path)
    else:
        write(path, format=suffix.upper())
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=rf"{path}: ends after \d{{4}} samples, its header says 8000"):
        read_header(path)
    with pytest.raises(InputError, match=r"ends after \d{4} samples, its header says 8000"):
        read(path)


@pytest.mark.parametrize("coding", ["PCM_U8", "PCM_24", "FLOAT", "ULAW", "ALAW", "IMA_ADPCM"])
def test_a_coded_wav_that_ends_early(tmp_path, coding):
    path = write(tmp_path / "a.wav", subtype=coding)
    assert read_header(path).num_samples >= 8000
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(InputError, match=r"ends after \d+ samples, its header says"):
        read(path)


@pytest.mark.parametrize(
    ("whole", "data"), [(2**32 - 1, 2**32 - 1), (2**31 - 1, 2**31 - 1), (0x7FFFF024, 0x7FFFF000), (0, 0), (36, 0)]
)
def test_a_stream_goes_to_its_end(tmp_path, whole, data):
    path = write(tmp_path / "a.wav")
    content = bytearray(path.read_bytes())
    content[4:8], content[40:44] = struct.pack("<I", whole), struct.pack("<I", data)
    path.write_bytes(content)
    np.testing.assert_array_equal(read(path), TIGHT)
    path.write_bytes(content[:10044])
    np.testing.assert_array_equal(read(path), TIGHT[:5000])


def test_an_empty_wav(tmp_path):
    path = write(tmp_path / "a.wav", SAMPLES[:0])
    with pytest.raises(InputError, match="holds no samples"):
        read(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match=r"a.wav: cannot be decoded"):
        read(path)


def test_two_wavs_in_one_file(tmp_path):
    path = write(tmp_path / "a.wav")
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(InputError, match="holds a second WAV file after its end"):
        read(path)


def test_a_raw_file_has_no_header(tmp_path):
    path = write(tmp_path / "a.raw", subtype="PCM_16", format="RAW")
    with pytest.raises(InputError, match=r"a.raw: cannot be decoded"):
        read(path)


@pytest.mark.parametrize("order", ["01", "10"])
@pytest.mark.parametrize("size", [1024, 2048])
def test_sphere(tmp_path, order, size):
    content = SAMPLES.astype("<i2" if order == "01" else ">i2").tobytes()
    path = sphere(tmp_path / "a.sph", order=order, size=size, content=content)
    assert read_header(path) == AudioHeader(16000, 8000)
    np.testing.assert_array_equal(read(path), TIGHT)


@pytest.mark.parametrize("coding", ["ulaw", "mu-law", "alaw"])
def test_telephone_sphere(tmp_path, coding):
    law = write(tmp_path / "a.raw", format="RAW", subtype="ALAW" if coding == "alaw" else "ULAW")
    path = sphere(tmp_path / "a.wav", coding, content=law.read_bytes(), rate=8000)  # TIMIT's spheres are called .wav
    assert np.abs(read(path) - TIGHT).max() < 0.02


@pytest.mark.parametrize(
    ("coding", "fault"),
    [
        ("pcm,embedded-shorten-v2.00", "is compressed by shorten, which is not read here: convert it with sph2pipe"),
        ("pculaw", "has NIST coding pculaw"),
    ],
)
def test_spheres_that_are_not_read(tmp_path, coding, fault):
    with pytest.raises(InputError, match=fault):
        read(sphere(tmp_path / "a.sph", coding))


def test_a_sphere_without_its_fields(tmp_path):
    path = tmp_path / "a.sph"
    path.write_bytes(b"NIST_1A\n   1024\nsample_rate -i 16000\nend_head\n".ljust(1024) + SAMPLES.tobytes())
    with pytest.raises(InputError, match="its NIST header lacks or spoils a field"):
        read(path)


@pytest.mark.parametrize("kind", [{}, {"write_function": "soundfile", "write_kwargs": {"format": "flac"}}])
def test_audio_in_archives(tmp_path, kind):
    """As kaldiio and ESPnet write them, in the middle and at the end of an archive."""
    second = SAMPLES[::-1].copy()
    scp = tmp_path / "wav.scp"
    kaldiio.save_ark(str(tmp_path / "a.ark"), {"u": (16000, SAMPLES), "v": (8000, second)}, scp=str(scp), **kind)
    sources = read_audio_sources(tmp_path)
    for name, samples, rate in (("u", SAMPLES, 16000), ("v", second, 8000)):
        read_samples, read_rate = read_audio(sources[name])
        assert read_rate == rate
        np.testing.assert_array_equal(read_samples.numpy(), samples.astype(np.float32) / 32768.0)
    write_table(scp, {"u": f"{tmp_path}/a.ark:7"})
    with pytest.raises(InputError, match=r"a.ark: byte 7: no audio there"):
        read_audio(read_audio_sources(tmp_path)["u"])
    whole = (tmp_path / "a.ark").read_bytes()
    (tmp_path / "a.ark").write_bytes(whole[: len(whole) // 3])
    write_table(scp, {"u": f"{tmp_path}/a.ark:2"})
    with pytest.raises(InputError, match=r"ends after|no whole audio there|cannot be decoded"):
        read_audio(read_audio_sources(tmp_path)["u"])


def test_channels(tmp_path):
    stereo = np.stack([SAMPLES, SAMPLES[::-1]], axis=1)
    write(tmp_path / "r.wav", stereo)
    write(tmp_path / "m.wav")
    write_table(tmp_path / "wav.scp", {"m": "m.wav", "r": "r.wav"})
    with pytest.raises(InputError, match=r"r.wav: has 2 channels, expected one \(mono\): --channel, segments or"):
        read_audio(read_audio_sources(tmp_path)["r"])
    by_option = read_audio_sources(tmp_path, channel=1)
    np.testing.assert_array_equal(read_audio(by_option["r"])[0].numpy(), TIGHT[::-1])
    np.testing.assert_array_equal(read_audio(by_option["m"])[0].numpy(), TIGHT)
    write_table(tmp_path / "reco2file_and_channel", {"m": "m B", "r": "r A"})
    by_table = read_audio_sources(tmp_path, channel=1)
    np.testing.assert_array_equal(read_audio(by_table["r"])[0].numpy(), TIGHT)
    np.testing.assert_array_equal(read_audio(by_table["m"])[0].numpy(), TIGHT)
    write_table(tmp_path / "segments", {"u": "r 0.1 0.2 1", "v": "r 0.1 0.2", "w": "r 0 0.2 2", "x": "m 0 0.1 0"})
    sources = read_audio_sources(tmp_path)
    np.testing.assert_array_equal(read_audio(sources["u"])[0].numpy(), TIGHT[::-1][1600:3200])
    np.testing.assert_array_equal(read_audio(sources["v"])[0].numpy(), TIGHT[1600:3200])
    np.testing.assert_array_equal(read_audio(sources["x"])[0].numpy(), TIGHT[:1600])
    with pytest.raises(InputError, match="has 2 channels, and no channel 3"):
        read_audio(sources["w"])


def test_segments_at_the_end(tmp_path):
    path = write(tmp_path / "r.wav")
    np.testing.assert_array_equal(read(path, 0.4, 0.95), TIGHT[6400:])
    with pytest.raises(InputError, match=r"ends at 0.50 s, more than 0.5 s before the end of a segment at 1.01 s"):
        read(path, 0.4, 1.01)
    with pytest.raises(InputError, match=r"ends at 0.50 s, before a segment that starts at 0.5 s"):
        read(path, 0.5, 0.9)


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (np.nan, "holds samples that are not numbers"),
        (np.inf, "holds samples that are not numbers"),
        (5000.0, r"holds samples up to 5e3, expected \[-1, 1\]"),
        (123.0, r"holds samples up to 1e2, expected \[-1, 1\]"),
    ],
)
def test_values_that_floats_should_not_have(tmp_path, value, fault):
    samples = TIGHT.copy()
    samples[4000] = value
    path = write(tmp_path / "a.wav", samples, subtype="FLOAT")
    with pytest.raises(InputError, match=rf"{path}: {fault}"):
        read(path)
    assert len(read(path, 0.0, 0.2)) == 3200


def test_a_loud_float_is_taken(tmp_path):
    path = write(tmp_path / "a.wav", TIGHT * 5, subtype="FLOAT")
    np.testing.assert_array_equal(read(path), TIGHT * 5)


@pytest.mark.parametrize("rate", [3999, 192001, 768000])
def test_rates(tmp_path, rate):
    with pytest.raises(InputError, match=f"has a sample rate of {rate} Hz, expected 4000 to 192000"):
        read_header(write(tmp_path / "a.wav", rate=rate))


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_a_flac_of_unknown_length(tmp_path):
    """As ffmpeg writes it into a pipe."""
    source = write(tmp_path / "a.wav")
    command = ["ffmpeg", "-v", "0", "-i", source, "-f", "flac", "-"]
    path = tmp_path / "a.flac"
    path.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
    assert read_header(path).num_samples == 8000
    np.testing.assert_array_equal(read(path), TIGHT)
    np.testing.assert_array_equal(read(path, 0.1, 0.2), TIGHT[1600:3200])
