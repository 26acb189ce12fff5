"""Formats as they are found: each stage reads them alike, and what a later one refuses, validate finds."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path

import pytest
import soundfile
from faults_world import MELS, edit

pytestmark = pytest.mark.slow


def scored(world) -> float:
    """Decode and score; returns the word error rate of the corpus."""
    assert world(*world.decode()).status == 0
    result = world("score", "--data", "made/corpus", "--decode", "decoded")
    assert result.status == 0, result
    return (Path("decoded/hyp.trn").read_text(), Path("decoded/ref.trn").read_text())


@pytest.mark.parametrize("table", ["text", "utt2spk", "wav.scp"])
@pytest.mark.parametrize(
    "change",
    [
        lambda line: line.replace(" ", "\t", 1),
        lambda line: line.replace(" ", "  \t ", 1),
        lambda line: line.rstrip("\n") + "\r\n",
    ],
    ids=["tab", "blanks", "crlf"],
)
def test_blanks_after_an_id(world, table, change) -> None:
    world.make_features()
    before = scored(world)
    shutil.rmtree("decoded")
    shutil.rmtree("made")
    path = Path("corpus") / table
    path.write_bytes("".join(change(line) for line in path.read_text().splitlines(True)).encode())
    assert world("validate", "corpus").status == 0
    assert world.make_features().status == 0
    assert scored(world) == before


@pytest.mark.parametrize("table", ["text", "utt2spk", "wav.scp"])
def test_a_byte_order_mark_is_passed_over_or_named(world, table) -> None:
    path = Path("corpus") / table
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    result = world("validate", "corpus")
    if result.status == 0:
        assert world.make_features().status == 0
        scored(world)
    else:
        assert "byte order mark" in result.err + result.out
        assert (result.err + result.out).count("byte order mark") == 1


@pytest.mark.parametrize("comment", [";; made by hand", ";;", "  ;; indented\n\n"])
def test_comments_of_a_ctm(made, comment) -> None:
    Path("made/corpus/words.ctm").write_text(f"{comment}\ns1-u0 1 0.1 0.2 ALPHA\n;; end\n")
    assert made("validate", "made/corpus").status == 0
    scored(made)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG"])
def test_a_file_on_stdin_is_recognised(world, kind, monkeypatch) -> None:
    samples, rate = soundfile.read("corpus/audio/s1-u1.wav")
    soundfile.write("one.file", samples, rate, format=kind)
    named = world("transcribe", "--exp", "exp", "--mode", "full", "one.file")
    assert named.status == 0, named
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path("one.file").read_bytes())))
    piped = world("transcribe", "--exp", "exp", "--mode", "full", "-")
    if piped.status == 0:
        assert piped.out.split()[-1:] == named.out.split()[-1:]
    else:
        assert "-:" in piped.err
        assert kind in piped.err or "raw samples" in piped.err


@pytest.mark.parametrize("stray", ["._{}", ".DS_Store", "._x.trans.txt"])
def test_files_of_macos_are_passed_over(world, stray) -> None:
    chapter = world.path / "LibriSpeech/set/1/10"
    chapter.mkdir(parents=True)
    for index in range(2):
        samples, rate = soundfile.read(f"corpus/audio/s1-u{index}.wav")
        soundfile.write(chapter / f"1-10-000{index}.flac", samples, rate)
        (chapter / stray.format(f"1-10-000{index}.flac")).write_bytes(b"\x00\x05\x16\x07 Mac OS X")
    (chapter / "1-10.trans.txt").write_text("1-10-0000 ALPHA BRAVO\n1-10-0001 CHARLIE\n")
    for folder in ("LibriSpeech/set", "LibriSpeech/set/1"):
        (world.path / folder / ".DS_Store").write_bytes(b"\x00")
    result = world("prepare-librispeech", "--librispeech", ".", "--sets", "set", "--output", "data")
    assert result.status == 0, result
    assert len((world.path / "data/set/text").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("reference", "errors"),
    [
        ("{ ALPHA / BRAVO } CHARLIE", 0),
        ("(UH) BRAVO CHARLIE", 0),
        ("{ BRAVO / @ } BRAVO CHARLIE", 0),
        ("(XX) (YY) BRAVO CHARLIE", 0),
        ("{ ALPHA / DELTA } BRAVO CHARLIE", 6),
        ("(BRAVO) CHARLIE", 0),
    ],
)
def test_marks_are_scored_as_sclite_does(made, reference, errors) -> None:
    assert made(*made.decode()).status == 0
    edit("decoded/text", lambda text: "".join(f"{line.split()[0]} BRAVO CHARLIE\n" for line in text.splitlines()))
    edit("made/corpus/text", lambda text: "".join(f"{line.split()[0]} {reference}\n" for line in text.splitlines()))
    result = made("score", "--data", "made/corpus", "--decode", "decoded")
    assert result.status == 0, result
    counts = json.loads(Path("decoded/score.json").read_text())["wer"]["counts"]
    assert counts["substitutions"] + counts["deletions"] + counts["insertions"] == errors


def test_features_of_a_longer_set_keep_their_rate(world) -> None:
    samples, _ = soundfile.read("corpus/audio/s1-u1.wav")
    soundfile.write("corpus/audio/s1-u1.wav", samples, 8000)
    result = world("features", *MELS, "--out", "made", "--train", "corpus", "--expected-rate", "16000")
    assert "s1-u1" in result.err + result.out
