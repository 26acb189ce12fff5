"""Commands of wav.scp: read as the programs themselves would, where those are installed, and never run."""

from __future__ import annotations

import shlex
import shutil
import subprocess

import numpy as np
import pytest
import soundfile

from dualtk.data.audio import read_audio, read_header
from dualtk.data.kaldi import read_audio_sources, read_recordings
from dualtk.data.pipes import parse_pipe
from dualtk.data.reading import Channels, Gain, Rate, RawFormat, Trim
from dualtk.errors import InputError
from dualtk.tables import write_table


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One second of two channels in several formats."""
    folder = tmp_path_factory.mktemp("pipes")
    samples = np.random.default_rng(0).uniform(-0.3, 0.3, (16000, 2))
    samples = np.cumsum(samples, axis=0) * 0.02  # low frequencies: resamplers agree there
    for name in ("two words.wav", "stereo.wav", "stereo.flac"):
        soundfile.write(folder / name, samples, 16000, subtype="PCM_16")
    for name in ("mono.wav", "mono.flac"):
        soundfile.write(folder / name, samples[:, 0], 16000, subtype="PCM_16")
    soundfile.write(folder / "mono.raw", samples[:, 0], 8000, format="RAW", subtype="PCM_16")
    soundfile.write(folder / "mono.al", samples[:, 0], 8000, format="RAW", subtype="ALAW")
    subprocess.run(["gzip", "-k", folder / "mono.wav"], check=True)
    return folder


def read(folder, value):
    (folder / "set").mkdir(exist_ok=True)
    write_table(folder / "set" / "wav.scp", {"a": value})
    samples, rate = read_audio(read_audio_sources(folder / "set")["a"])
    return samples.numpy(), rate


RUN = [
    "flac -c -d -s mono.flac |",
    "flac -cds mono.flac 2>/dev/null |",
    "flac -s -c -d --skip=4000 --until=12000 mono.flac |",
    "sox mono.wav -t wav - |",
    "sox -t wav 'two words.wav' -t wav -c 1 - |",
    r"sox two\ words.wav -t wav - remix 2 |",
    "sox stereo.wav -r 8000 -c 1 -t wav - |",
    "sox stereo.flac -b 16 -e signed-integer -t wav - remix 1,2 rate -v 8k |",
    "sox -v 0.5 mono.wav -t wav - trim 0.25 0.5 |",
    "sox -G mono.wav -t wav - |",
    "sox mono.wav -t wav - trim 4000s =8000s gain -6 |",
    "sox -t raw -r 8000 -e signed-integer -b 16 -c 1 mono.raw -t wav - |",
    "sox -t al -r 8000 mono.al -t wav -b 16 -e signed - |",
    "flac -c -d -s stereo.flac | sox -t wav - -t wav - remix - vol 2dB |",
    "cat mono.wav |",
    "gunzip -c mono.wav.gz | sox -t wav - -t wav -r 8000 - |",
    "ffmpeg -i mono.flac -f wav - |",
    "ffmpeg -hide_banner -loglevel quiet -i stereo.wav -f wav -ar 8000 -ac 1 -acodec pcm_s16le - |",
    "ffmpeg -v 0 -nostdin -ss 0.25 -t 0.5 -i stereo.wav -map_channel 0.0.1 -f wav pipe:1 |",
    "ffmpeg -v 0 -i stereo.wav -af 'pan=mono|c0=c1,volume=0.5' -ss 0.1 -to 0.6 -f wav - |",
]


@pytest.mark.parametrize("command", RUN)
def test_as_the_program_itself(folder, command, tmp_path):
    """Against the program's own output, within what 16 bits and another resampling filter change."""
    if " -G " in command:
        with pytest.raises(InputError, match="-G of sox is not understood"):
            read(folder, command)
        return
    samples, rate = read(folder, command)
    programs = [shlex.split(stage)[0] for stage in command.replace("'pan=mono|c0", "'pan").rstrip("|").split("|")]
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    with (tmp_path / "out.wav").open("wb") as stream:
        subprocess.run(
            command.rstrip("|"), shell=True, cwd=folder, stdout=stream, check=True, stderr=subprocess.DEVNULL
        )
    expected, expected_rate = soundfile.read(tmp_path / "out.wav")
    assert (rate, len(samples)) == (expected_rate, len(expected))
    inner = slice(200, -200)  # filters differ where the signal begins and ends
    np.testing.assert_allclose(samples[inner], expected[inner], atol=0.01 if rate != 16000 else 2e-4)


@pytest.mark.parametrize(
    ("value", "steps", "raw"),
    [
        ("wav-copy a.sph - |", (), None),
        ("sph2pipe -f wav -c 1 a.sph | wav-copy --print-args=false - - |", (Channels((0,)),), None),
        ("/kaldi/tools/sph2pipe -f wav -p -c 2 a.sph |", (Channels((1,)),), None),
        ("$KALDI_ROOT/tools/sph2pipe_v2.5/sph2pipe -f wav -t 1:2.5 a.sph |", (Trim(60.0 + 2.5),), None),
        ("sph2pipe -p -f rif -s 100:200 a.sph |", (Trim(100, 200, in_samples=True),), None),
        ("sox -t raw -r 8k -e u-law -b 8 -c 2 a.sph -t wav - remix 1 |", (Channels((0,)),), RawFormat(8000, 2, "ULAW")),
        ("ffmpeg -f s16le -ar 8000 -ac 1 -i a.sph -f wav - |", (), RawFormat(8000)),
        ("ffmpeg -i a.sph -af aresample=8000,volume=6dB -f wav - |", (Rate(8000), Gain(10**0.3)), None),
    ],
)
def test_steps(value, steps, raw):
    if "1:2.5" in value:
        steps = (Trim(1.0, 2.5),)
    pipe = parse_pipe(value)
    assert pipe.file == "a.sph"
    assert pipe.reading.steps == steps
    assert pipe.reading.raw == raw


def test_an_entry_is_understood_from_any_folder(folder, tmp_path, monkeypatch):
    for value in ("sox 'two words.wav' -t wav - remix 2 |", "flac -c -d -s stereo.flac | sox - -t wav - remix 1 |"):
        first, _ = read(folder, value)
        entry = read_recordings(folder / "set")[1]["a"].entry
        write_table(tmp_path / "wav.scp", {"a": entry})
        monkeypatch.chdir("/")
        second, _ = read_audio(read_audio_sources(tmp_path)["a"])
        np.testing.assert_array_equal(first, second.numpy())


@pytest.mark.parametrize(
    "value",
    [
        "sox mono.wav -t mp3 - |",
        "sox mono.wav -t wav -b 8 - |",
        "sox mono.wav -t wav -c 2 - |",
        "sox -r 8000 mono.wav -t wav - |",
        "sox mono.wav other.wav -t wav - |",
        "sox mono.wav -t wav - trim 0 -1 |",
        "sox mono.wav -t wav - gain -n -3 |",
        "sox '|cat mono.wav' -t wav - |",
        "sox -v loud mono.wav -t wav - |",
        "ffmpeg -i mono.wav -c:a libmp3lame -f wav - |",
        "ffmpeg -i mono.wav -f mp3 - |",
        "ffmpeg -i mono.wav -i stereo.wav -f wav - |",
        "ffmpeg -i mono.wav out.wav |",
        "sph2pipe -f wav -a mono.wav |",
        "wav-copy mono.wav other.wav |",
        "sph2pipe -c 3 mono.wav |",
        "cat mono.wav stereo.wav |",
        "cat -n mono.wav |",
        "gunzip mono.wav.gz |",
        "cat mono.wav > other.wav |",
        "cat mono.wav | sox mono.wav -t wav - |",
        "cat mono.wav | gunzip -c - |",
        "| |",
        "|",
    ],
)
def test_what_is_not_done_exactly_is_refused(folder, value):
    with pytest.raises(InputError, match=r"wav.scp:1: a: .* is not understood, and pipes are not run: write its audio"):
        read(folder, value)
    assert not (folder / "other.wav").exists()


def test_parts_of_a_pipe(folder):
    """Segments of what a command gives, of what can be sought in the file and of what cannot."""
    for value in ("sox stereo.wav -t wav - remix 2 |", "sox stereo.wav -t wav - remix 2 rate 8000 |"):
        whole, rate = read(folder, value)
        write_table(folder / "set" / "segments", {"u": "a 0.25 0.5", "v": "a 0.5 -1"})
        sources = read_audio_sources(folder / "set")
        (folder / "set" / "segments").unlink()
        np.testing.assert_array_equal(read_audio(sources["u"])[0].numpy(), whole[rate // 4 : rate // 2])
        np.testing.assert_array_equal(read_audio(sources["v"])[0].numpy(), whole[rate // 2 :])
        assert read_header(sources["u"]).num_samples == len(whole)
