"""`dualtk transcribe`: what it prints, in every mode, and what it says to bad audio."""

from __future__ import annotations

import fcntl
import io
import json
import signal
import subprocess
import sys
import termios
import time
from array import array
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from small_experiment import MELS, write_experiment
from small_networks import speech

from dualtk.bin import transcribe
from dualtk.bin.display import CLEAR_LINE, TextDisplay
from dualtk.bin.dualtk import run
from dualtk.data.fbank import fbank
from dualtk.formats import FORMATS
from dualtk.search.greedy import GreedySearch
from dualtk.search.whole import WholeDecoder
from dualtk.trained import load
from dualtk.transcript import Segment
from dualtk.written import FILE


@pytest.fixture(scope="module")
def exp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_experiment(tmp_path_factory.mktemp("exp") / "tiny", "modes.streaming.left_context=8")


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audio")
    for index, size in enumerate((14000, 9011)):
        soundfile.write(folder / f"{index}.wav", speech(size, index).numpy(), 16000, subtype="FLOAT")
    return folder


def expected_text(exp: Path, path: Path, mode_name: str) -> str:
    """Whole-utterance decoding in a mode."""
    trained = load(exp)
    search = GreedySearch(trained.network.predictor, trained.network.joiner)
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    feats = fbank(torch.from_numpy(samples.mean(1)), rate, MELS).unsqueeze(0)
    decoder = WholeDecoder(trained.network, trained.mode(mode_name), search)
    return trained.tokenizer.decode(decoder.decode(feats, torch.tensor([feats.shape[1]]))[0][0].tokens)


def call(exp: Path, *arguments: object) -> int:
    return run(transcribe.main, ["--exp", str(exp), *map(str, arguments)])


@pytest.mark.parametrize("mode", ["streaming", "full"])
def test_text_is_that_of_whole_utterance_decoding(exp, audio, capsys, mode: str) -> None:
    files = [audio / "0.wav", audio / "1.wav"]
    assert call(exp, "--mode", mode, *files) == 0
    expected = [f"{path}: {expected_text(exp, path, mode)}" for path in files]
    assert capsys.readouterr().out.splitlines() == expected
    assert len(expected[0]) > len(str(files[0])) + 10, "a network that says nothing proves nothing"


@pytest.mark.slow
def test_two_passes_say_their_modes(exp, audio, capsys) -> None:
    path = audio / "0.wav"
    assert call(exp, "--mode", "two-pass", path) == 0
    texts = [f"{mode}: {expected_text(exp, path, mode)}" for mode in ("streaming", "full")]
    assert capsys.readouterr().out.splitlines() == texts
    assert call(exp, "--mode", "two-pass", path, path) == 0
    assert capsys.readouterr().out.splitlines() == [f"{path} {text}" for text in texts] * 2


def test_two_passes_as_json(exp, audio, capsys) -> None:
    path = audio / "0.wav"
    assert call(exp, "--mode", "two-pass", "--json", path) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    *partial, first, second = lines
    assert [line["type"] for line in partial] == ["partial"] * len(partial)
    assert len(partial) > 2
    seconds = [line["audio_seconds"] for line in partial]
    assert seconds == sorted(set(seconds))
    assert first["audio_seconds"] == second["audio_seconds"] == 14000 / 16000
    assert (first["type"], first["mode"], first["text"]) == (
        "final",
        "streaming",
        expected_text(exp, path, "streaming"),
    )
    assert (second["type"], second["mode"], second["text"]) == ("final", "full", expected_text(exp, path, "full"))
    assert [word["word"] for word in second["words"]] == second["text"].split()
    for word in first["words"] + second["words"]:
        assert 0 <= word["start"] < word["end"] <= 14000 / 16000 + 0.04
        assert 0 < word["confidence"] <= 1


def test_raw_samples_on_standard_input(exp, audio, capsys, monkeypatch, tmp_path) -> None:
    samples = (speech(9000, 3).numpy() * 32767).astype("<i2")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(samples.tobytes() + b"\0")))
    assert call(exp, "-") == 0
    soundfile.write(tmp_path / "same.wav", samples, 16000)
    assert capsys.readouterr().out.rstrip("\n") == expected_text(exp, tmp_path / "same.wav", "streaming")


@pytest.mark.slow
def test_other_formats_rates_and_channels(exp, capsys, tmp_path) -> None:
    stereo = np.stack([speech(14000, 4).numpy(), speech(14000, 5).numpy()], axis=1)
    for path, rate in ((tmp_path / "a.flac", 44100), (tmp_path / "b.ogg", 22050), (tmp_path / "c.wav", 8000)):
        soundfile.write(path, stereo, rate)
        assert call(exp, "--no-endpoints", path) == 0
        assert capsys.readouterr().out.rstrip("\n") == expected_text(exp, path, "streaming")


@pytest.mark.parametrize("options", [("--chunk-ms", 320), ("--beam", 4), ("--precision", "int8")], ids=str)
def test_options_change_how_not_whether(exp, audio, capsys, options) -> None:
    assert call(exp, *options, audio / "0.wav") == 0
    assert capsys.readouterr().out.strip()


@pytest.mark.slow
def test_audio_without_speech_is_an_empty_result(exp, capsys, tmp_path) -> None:
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16000)
    soundfile.write(tmp_path / "short.wav", np.zeros(100), 16000)
    for mode in ("two-pass", "full", "streaming"):
        assert call(exp, "--mode", mode, tmp_path / "empty.wav", tmp_path / "short.wav") == 0
        assert {line.partition(": ")[2] for line in capsys.readouterr().out.splitlines()} == {""}


def test_bad_audio_is_said_and_the_rest_is_transcribed(exp, audio, capsys, tmp_path) -> None:
    (tmp_path / "text.wav").write_text("no audio")
    soundfile.write(tmp_path / "nan.wav", np.full(9000, np.nan, np.float32), 16000, subtype="FLOAT")
    bad = [tmp_path / "missing.wav", tmp_path / "text.wav", tmp_path / "nan.wav", tmp_path]
    assert call(exp, *bad, audio / "1.wav") == 2
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [f"{audio / '1.wav'}: {expected_text(exp, audio / '1.wav', 'streaming')}"]
    lines = captured.err.splitlines()
    assert [line.split(": ")[2] for line in lines] == [str(path) for path in bad]
    for line, words in zip(lines, ("no such file", "cannot be decoded", "not numbers", "no such file"), strict=True):
        assert words in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--mode", "fast"), "has no mode fast; its modes are"),
        (("--chunk-ms", 50), "50 is no multiple of 40"),
        (("--mode", "full", "--chunk-ms", 160), "--chunk-ms: is for streaming, and mode full sees the whole utterance"),
        (("--mode", "full", "--precision", "int8"), "--precision: is for streaming, and mode full"),
        (("--mode", "full", "--engine", "onnxruntime"), "--engine: is for streaming, and mode full"),
        (("--lm", "x.arpa"), "needs a --beam"),
        (("--beam", "2", "--lm", "x.arpa"), "x.arpa: cannot be read"),
        (("--tokens", "nowhere"), "nowhere"),
    ],
)
def test_options_that_make_no_sense(exp, audio, capsys, arguments, words: str) -> None:
    assert call(exp, *arguments, audio / "0.wav") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("dualtk: error: ")
    assert words in line


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--threads", -1), "--threads: -1: expected a whole number of at least 0"),
        (("--chunk-ms", 0), "--chunk-ms: 0: expected a whole number of at least 1"),
        (("--beam", 0), "--beam: 0: expected a whole number of at least 1"),
        (("--beam", "many"), "--beam: many: expected a whole number of at least 1"),
    ],
)
def test_numbers_that_make_no_sense(exp, audio, capsys, arguments, line: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        call(exp, *arguments, audio / "0.wav")
    assert capsys.readouterr().err.endswith(f"dualtk transcribe: error: argument {line}\n")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_line_is_rewritten_and_never_wraps(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    terminal = Terminal()
    display = TextDisplay(terminal, with_names=False)
    for text in ("ONE", "ONE " + "TWO " * 10 + "END"):
        display.partial("a", text, 0.1)
    display.final("a", Segment("streaming", 0.0, 1.0, "ONE TWO END", []), 1.0)
    first, second, last = terminal.getvalue().removeprefix(CLEAR_LINE).split(CLEAR_LINE)
    assert first == "ONE"
    assert len(second) == 19
    assert second.startswith("…")
    assert second.endswith("TWO END")
    assert last == "ONE TWO END\n"


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sentences with a pause."""
    path = tmp_path_factory.mktemp("talk") / "talk.wav"
    samples = torch.cat([speech(14000, 1), torch.zeros(16000), speech(20000, 2), torch.zeros(16000)])
    soundfile.write(path, samples.numpy(), 16000, subtype="FLOAT")
    return path


@pytest.mark.slow
def test_a_long_recording_has_a_line_for_each_segment(exp, talk, capsys) -> None:
    assert call(exp, "--mode", "two-pass", talk) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["streaming", "full"] * 2
    assert call(exp, "--no-endpoints", talk) == 0
    assert capsys.readouterr().out.splitlines() == [expected_text(exp, talk, "streaming")]


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 3])
def test_files_of_every_format(exp, audio, talk, capsys, tmp_path, jobs: int) -> None:
    files = [talk, audio / "0.wav", audio / "1.wav"]
    assert call(exp, "--output", tmp_path, "--output-format", ",".join(FORMATS), "--jobs", jobs, *files) == 0
    assert capsys.readouterr().out == ""
    names = {path.name for path in tmp_path.iterdir() if path.name != FILE}
    assert names == {f"{path.stem}.{kind}" for path in files for kind in FORMATS}
    assert (tmp_path / "0.txt").read_text().rstrip("\n") == expected_text(exp, audio / "0.wav", "streaming")
    whole = json.loads((tmp_path / "talk.json").read_text())
    assert len(whole["segments"]) == 2
    assert (tmp_path / "talk.trn").read_text() == f"{whole['text']} (talk)\n"


@pytest.mark.slow
def test_a_file_of_the_user_stays(exp, audio, capsys, tmp_path) -> None:
    (tmp_path / "1.txt").write_text("what was said\n")
    for files in (["0.wav"], ["0.wav"], ["0.wav", "1.wav"]):
        status = call(exp, "--output", tmp_path, *(audio / name for name in files))
        assert status == (2 if "1.wav" in files else 0)
    assert f"{tmp_path / '1.txt'}: exists, and was not written by this command" in capsys.readouterr().err
    assert (tmp_path / "1.txt").read_text() == "what was said\n"


def test_one_format_on_standard_output(exp, talk, capsys) -> None:
    assert call(exp, "--output-format", "srt", talk) == 0
    assert capsys.readouterr().out.startswith("1\n00:00:00,")


@pytest.mark.slow
def test_several_jobs_print_in_order(exp, audio, capsys) -> None:
    files = [audio / "1.wav", audio / "0.wav", audio / "none.wav"]
    assert call(exp, "--jobs", 3, *files) == 2
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [f"{path}: {expected_text(exp, path, 'streaming')}" for path in files[:2]]
    assert captured.err.startswith(f"dualtk: error: {files[2]}: no such file")


def test_results_of_one_name_are_refused(exp, audio, capsys, tmp_path) -> None:
    assert call(exp, "--output", tmp_path / "out", audio / "0.wav", tmp_path / "0.flac") == 2
    assert "both would be written to" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "nothing to transcribe"),
        (("--min-pause", 0, "x.wav"), "min_pause"),
        (("--device", "abacus", "x.wav"), "abacus"),
    ],
)
def test_what_is_refused_before_anything_is_read(exp, capsys, arguments, words: str) -> None:
    assert call(exp, *arguments) == 2
    assert words in capsys.readouterr().err


def test_without_sounddevice_it_says_what_to_install(exp, capsys, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert call(exp, "--microphone") == 2
    assert "pip install 'dualtk[microphone]'" in capsys.readouterr().err


SLOWLY = """
import sys, time
from pathlib import Path
from dualtk.bin import transcribe
from dualtk.bin.dualtk import run
from dualtk.written import FILE

sys.exit(run(transcribe.main, ["--exp", sys.argv[1], "-"]))
"""


@pytest.mark.slow
def test_control_c_ends_with_the_last_segment(exp, tmp_path) -> None:
    samples = (speech(14000, 1).numpy() * 32767).astype("<i2")
    command = [sys.executable, "-c", SLOWLY, str(exp)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(samples.tobytes())
        process.stdin.flush()
        while not waits_for_input(process):
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        assert process.stderr is not None
        said, errors = process.stdout.read().decode(), process.stderr.read().decode()
    soundfile.write(tmp_path / "same.wav", samples, 16000)
    assert said.rstrip("\n") == expected_text(exp, tmp_path / "same.wav", "streaming")
    assert (process.returncode, errors) == (0, "")


def waits_for_input(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has read what there was in its pipe and sleeps until there is more."""
    unread = array("i", [0])
    fcntl.ioctl(process.stdin, termios.FIONREAD, unread)
    state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2][0]
    return unread[0] == 0 and state == "S"
