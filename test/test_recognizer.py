"""The public face: `import dualtk`, a recogniser, its results and streams."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import numpy as np
import pytest
import soundfile
import torch
from small_experiment import write_experiment
from small_networks import speech

import dualtk
from dualtk.bin import train_lm
from dualtk.bin.dualtk import run
from dualtk.errors import InputError
from dualtk.recognizer import Recognizer
from dualtk.transcript import Segment

RATE = 16000
ROOT = Path(__file__).resolve().parents[1]
NEW = "import sys, dualtk; print(sorted({'torch', 'numpy', 'pydantic'} & set(sys.modules)), dualtk.__version__)"


@pytest.fixture(scope="module")
def exp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_experiment(tmp_path_factory.mktemp("exp") / "tiny", "modes.streaming.left_context=8")


@pytest.fixture(scope="module")
def recognizer(exp: Path) -> Recognizer:
    return dualtk.load(exp)


def talk(seed: int) -> np.ndarray:
    """Two sentences with a pause."""
    silence = torch.zeros(RATE)
    return torch.cat([speech(14000, seed), silence, speech(20000, seed + 1), silence]).numpy()


def test_importing_dualtk_imports_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", NEW], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", dualtk.__version__]
    assert dualtk.lattice.rnnt_loss is not None
    assert set(dualtk.__all__) <= set(dir(dualtk))
    for name in dualtk.__all__:
        assert getattr(dualtk, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        _ = dualtk.nothing


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["streaming", "full", "two-pass"])
def test_a_file_an_array_and_a_stream_give_the_same(recognizer, tmp_path, mode: str) -> None:
    samples = talk(1)
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    result = recognizer.transcribe(tmp_path / "a.wav", mode)
    assert len(result.segments) == 2
    assert result.text == " ".join(one.text for one in result.segments)
    assert [word.text for word in result.words] == result.text.split()
    assert result.audio_seconds == pytest.approx(len(samples) / RATE)
    for one in result.segments:
        assert one.start <= one.words[0].start < one.words[-1].end <= one.end + 0.04
        assert (one.first_pass is not None) == (mode == "two-pass")
    assert recognizer.transcribe(str(tmp_path / "a.wav"), mode) == result
    model = dualtk.load(recognizer.trained.folder / "model.safetensors")
    assert model.transcribe(tmp_path / "a.wav", mode) == result
    assert recognizer.transcribe(samples, mode, rate=RATE) == result
    assert recognizer.transcribe(torch.from_numpy(np.stack([samples, samples], 1)), mode, rate=RATE) == result
    assert stream_in_pieces(recognizer, samples, 777, mode) == list(result.segments)


def stream_in_pieces(recognizer: Recognizer, samples: np.ndarray, size: int, mode: str) -> list[Segment]:
    stream, segments = recognizer.stream(mode), []
    for start in range(0, len(samples), size):
        stream.accept(samples[start : start + size], RATE)
        segments += stream.results()
    return segments + stream.finish()


def test_whole_numbers_are_samples_too(recognizer) -> None:
    whole = (talk(2) * 32767).astype(np.int16)
    expected = recognizer.transcribe(whole.astype(np.float32) / 32768, rate=RATE)
    assert recognizer.transcribe(whole, rate=RATE) == expected


def test_the_partial_text_grows_and_starts_anew_with_each_segment(recognizer) -> None:
    stream, samples, seen = recognizer.stream(), talk(1), []
    for start in range(0, len(samples), 1600):
        stream.accept(samples[start : start + 1600], RATE)
        seen.append(stream.partial)
    first, second = stream.results()
    while_first, while_second = seen[:9], seen[18:31]  # tenths of a second
    assert seen[15] == ""
    assert all(first.text.startswith(text) for text in while_first)
    assert all(second.text.startswith(text) for text in while_second)
    assert len(set(while_first)) > 3
    assert len(set(while_second)) > 3


@pytest.mark.slow
def test_many_threads_with_one_recognizer(exp) -> None:
    """Opened, fed pieces of random sizes and closed by eight threads, streams give what they give alone."""
    recognizer, alone = dualtk.load(exp), dualtk.load(exp)
    inputs = [talk(seed) for seed in range(6)]
    modes = ("streaming", "two-pass", "full")
    expected = {
        (seed, mode): [one.text for one in alone.transcribe(samples, mode, rate=RATE).segments]
        for seed, samples in enumerate(inputs)
        for mode in modes
    }

    def work(number: int) -> bool:
        random = Random(number)
        seed, mode = random.randrange(len(inputs)), random.choice(modes)
        found = stream_in_pieces(recognizer, inputs[seed], random.randrange(400, 9000), mode)
        return [one.text for one in found] == expected[seed, mode]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(48)))
    assert torch.backends.mkldnn.enabled


@pytest.mark.slow
def test_streams_together_give_what_they_give_alone(recognizer) -> None:
    inputs = [talk(seed) for seed in range(4)]
    streams = [recognizer.stream(mode) for mode in ("streaming", "two-pass", "streaming", "full")]
    for start in range(0, len(inputs[0]), 3000):
        recognizer.accept(streams, [one[start : start + 3000] for one in inputs], RATE)
    for stream, samples in zip(streams, inputs):
        expected = recognizer.transcribe(samples, stream.mode, rate=RATE).segments
        assert [one.text for one in stream.finish()] == [one.text for one in expected]


@pytest.mark.slow
def test_streams_share_a_language_model_that_is_read_once(exp, tmp_path) -> None:
    """One with hotwords of its own among them, after the folder of the model has gone."""
    (tmp_path / "text").write_text("ALPHA BRAVO CHARLIE\nDELTA ECHO\n" * 20, encoding="utf-8")
    arguments = [
        "--type",
        "transformer",
        "--tokens",
        exp / "lang",
        "--plain",
        tmp_path / "text",
        "--out",
        tmp_path / "lm",
    ]
    sizes = "{name: transformer, dim: 8, num_layers: 1, num_heads: 2, feedforward_dim: 8, left_context: 4}"
    arguments += ["--set", f"language_model={sizes}", "--set", "train.max_epochs=2"]
    assert run(train_lm.main, list(map(str, arguments))) == 0
    search = dualtk.SearchOptions(beam=3, lm=tmp_path / "lm", lm_weight=1.5, internal_lm_weight=0.3)
    fused = dualtk.load(exp, search=search)
    shutil.rmtree(tmp_path / "lm")
    samples = [talk(seed) for seed in (1, 3, 5)]
    alone = [fused.transcribe(one, rate=RATE).text for one in samples]
    plain = dualtk.load(exp, search=dualtk.SearchOptions(beam=3))
    assert alone != [plain.transcribe(one, rate=RATE).text for one in samples]
    streams = [fused.stream() for _ in samples]
    with_hotwords = fused.stream(hotwords=["ALPHA :0.0"])
    for start in range(0, max(map(len, samples)), 3000):
        fused.accept(streams, [one[start : start + 3000] for one in samples], RATE)
        with_hotwords.accept(samples[0][start : start + 3000], RATE)
    found = [stream.finish() for stream in (*streams, with_hotwords)]
    assert [" ".join(one.text for one in segments if one.text) for segments in found] == [*alone, alone[0]]
    bounded = dualtk.load(exp, search=dualtk.SearchOptions(beam=3), chunk_ms=160, precision="int8")
    with pytest.raises(InputError, match="full"):
        bounded.transcribe(samples[0], "full", rate=RATE)
    expected = plain.transcribe(samples[0], "full", rate=RATE).text
    assert bounded.of_whole_utterances().transcribe(samples[0], "full", rate=RATE).text == expected
    whole = fused.of_whole_utterances().transcribe(samples[0], "full", rate=RATE)
    assert whole.text == fused.transcribe(samples[0], "full", rate=RATE).text


def test_what_is_refused_in_one_line(recognizer, exp, tmp_path) -> None:
    for call, words in (
        (lambda: recognizer.transcribe(np.zeros(9000, np.float32)), "rate"),
        (lambda: recognizer.transcribe(np.zeros((3, 3, 3)), rate=RATE), "expected"),
        (lambda: recognizer.transcribe(np.full(9000, np.nan), rate=RATE), "not numbers"),
        (lambda: recognizer.transcribe(tmp_path / "none.wav"), "no such file"),
        (lambda: recognizer.stream("fast"), "has no mode fast"),
        (lambda: dualtk.load(tmp_path / "nowhere"), "nowhere"),
        (lambda: dualtk.load(exp, device="abacus"), "device abacus"),
    ):
        with pytest.raises(dualtk.InputError, match=words) as error:
            call()
        assert "\n" not in str(error.value)


def test_a_stream_goes_on_after_bad_samples(recognizer) -> None:
    samples = talk(1)
    stream = recognizer.stream()
    stream.accept(samples[:20000], RATE)
    for bad, rate in ((np.full(100, np.inf, np.float32), RATE), (samples[:100], 8000), (samples[:100], 100)):
        with pytest.raises(dualtk.InputError):
            stream.accept(bad, rate)
    stream.accept(samples[20000:], RATE)
    assert stream.finish() == list(recognizer.transcribe(samples, rate=RATE).segments)


@pytest.mark.slow
def test_the_page_of_the_api_is_that_of_the_docstrings() -> None:
    command = [sys.executable, str(ROOT / "tools/api_page.py")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    assert (ROOT / "docs/api.md").read_text(encoding="utf-8") == done.stdout


@pytest.mark.slow
def test_the_python_of_the_documentation_runs(exp, tmp_path, monkeypatch, capsys) -> None:
    """The five lines of `import dualtk` on the page for users, on another network and recording."""
    text = (ROOT / "docs/recognising.md").read_text(encoding="utf-8")
    block = text[text.index("    import dualtk\n") :].partition("\n\n`")[0]
    soundfile.write(tmp_path / "talk.wav", talk(1), RATE, subtype="FLOAT")
    monkeypatch.chdir(tmp_path)
    exec(textwrap.dedent(block).replace("exp/dual_conformer", str(exp)), {})
    first, *rest = capsys.readouterr().out.splitlines()
    assert first == dualtk.load(exp).transcribe("talk.wav", mode="two-pass").text
    assert len(rest) == 2
