"""`dualtk data`: directories put together, cut and copied; what is read stays as it is."""

from __future__ import annotations

import hashlib
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile

from dualtk.bin.data import main
from dualtk.bin.dualtk import run
from dualtk.data.arks import read_cmvn
from dualtk.data.kaldi import Utterance, audio_sources, read_audio_sources, write_data_directory
from dualtk.data.validation import validate
from dualtk.errors import InputError
from dualtk.tables import read_table


def make(directory: Path, speakers: dict[str, int], seconds: float = 0.3) -> Path:
    """A data directory: so many utterances of each speaker, each a little longer than the one before."""
    utterances = []
    for speaker, count in speakers.items():
        for number in range(count):
            path = directory / "audio" / f"{speaker}-{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            duration = seconds + 0.1 * number
            soundfile.write(path, np.full(round(16000 * duration), 0.1), 16000)
            name = f"{speaker}-{number}"
            utterances.append(Utterance(name, speaker, f"audio/{name}.wav", f"Word {number}, {speaker}!", duration))
    write_data_directory(directory, utterances)
    return directory


def state(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def names(directory: Path) -> list[str]:
    return list(read_table(directory / "utt2spk"))


def data(*arguments: object) -> None:
    assert main([str(one) for one in arguments]) == 0


def test_combined_directories_are_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = make(tmp_path / "one", {"a": 2, "b": 1}), make(tmp_path / "other", {"c": 3})
    before = state(one), state(other)
    data("combine", one, other, "--out", tmp_path / "both")
    assert capsys.readouterr().out == f"{tmp_path}/both: 6 utterances of 3 speakers, 0.00 h\n"
    assert validate(tmp_path / "both") == []
    assert names(tmp_path / "both") == names(one) + names(other)
    assert (state(one), state(other)) == before
    with pytest.raises(InputError, match=r"one: a-0 is in .*one too"):
        data("combine", one, one, "--out", tmp_path / "twice")
    assert not (tmp_path / "twice").exists()


def test_segments_and_whole_recordings_combine(tmp_path: Path) -> None:
    one, other = make(tmp_path / "one", {"a": 2}), make(tmp_path / "other", {"c": 1})
    (one / "segments").write_text("a-0 talk 0.0 0.1\na-1 talk 0.1 0.3\n")
    (one / "wav.scp").write_text("talk audio/a-0.wav\n")
    (one / "utt2dur").unlink()
    data("combine", one, other, "--out", tmp_path / "both")
    assert validate(tmp_path / "both") == []
    sources = read_audio_sources(tmp_path / "both")
    assert {name: (source.start, source.end) for name, source in sources.items()} == {
        "a-0": (0.0, 0.1),
        "a-1": (0.1, 0.3),
        "c-0": (0.0, 0.3),
    }


def test_subsets(tmp_path: Path) -> None:
    whole = make(tmp_path / "whole", {"a": 4, "b": 3, "c": 5})
    (tmp_path / "list").write_text("b-1 and more\na-0\n")
    (tmp_path / "speakers").write_text("c\na\n")
    (whole / "words.ctm").write_text("a-0 1 0.0 0.1 Word\na-1 1 0.0 0.1 Word\n")
    for option, value, expected in (
        ("--list", tmp_path / "list", ["a-0", "b-1"]),
        ("--speakers", tmp_path / "speakers", [name for name in names(whole) if name[0] != "b"]),
        ("--every", 5, names(whole)[::5]),
    ):
        out = tmp_path / option
        data("subset", whole, option, value, "--out", out)
        assert validate(out) == []
        assert names(out) == expected
        assert (out / "words.ctm").read_text() == "".join(
            f"{name} 1 0.0 0.1 Word\n" for name in ("a-0", "a-1") if name in expected
        )
    chosen = []
    for seed in (1, 1, 2):
        data("subset", whole, "--hours", 2.0 / 3600, "--seed", seed, "--out", tmp_path / "hours")
        chosen.append(names(tmp_path / "hours"))
        seconds = sum(float(value) for value in read_table(tmp_path / "hours/utt2dur").values())
        assert 1.2 < seconds <= 2.0
    assert chosen[0] == chosen[1] != chosen[2]


def test_a_subset_finds_the_audio_of_its_source(tmp_path: Path) -> None:
    """In its folder wav/, beside it, and by an absolute path; a recording is kept for its segments alone."""
    source = tmp_path / "source"
    (source / "wav").mkdir(parents=True)
    places = {"a": Path("wav/a.wav"), "b": Path("b.wav"), "c": tmp_path / "c.wav"}
    for place in places.values():
        soundfile.write(source / place, [0.0] * 160, 16000)
    (source / "wav.scp").write_text("".join(f"{name} {place}\n" for name, place in places.items()))
    (source / "utt2spk").write_text("".join(f"{name}-{i} {name}\n" for name in places for i in range(2)))
    (source / "segments").write_text("".join(f"{name}-{i} {name} 0.0 0.01\n" for name in places for i in range(2)))
    (source / "text").write_text("".join(f"{name}-{i} one two\n" for name in places for i in range(2)))
    for every, kept in ((1, ["a-0", "a-1", "b-0", "b-1", "c-0", "c-1"]), (3, ["a-0", "b-1"])):
        data("subset", source, "--every", every, "--out", tmp_path / "part")
        found, faults = audio_sources(tmp_path / "part")
        assert not faults
        assert sorted(found) == kept
        assert all(one.path.is_absolute() for one in found.values())
        assert list(read_table(tmp_path / "part/wav.scp")) == sorted({name[0] for name in kept})


def test_no_speaker_is_in_two_parts(tmp_path: Path) -> None:
    speakers = {f"s{number:02d}": 2 + number % 5 for number in range(30)}
    whole = make(tmp_path / "whole", speakers)
    data("split", whole, "--parts", "train=70,dev=20,test=10", "--out", tmp_path / "parts")
    parts = {name: tmp_path / "parts" / name for name in ("train", "dev", "test")}
    spoken = {name: set(read_table(part / "utt2spk").values()) for name, part in parts.items()}
    assert sum(map(len, spoken.values())) == 30 == len(set.union(*spoken.values()))
    assert sorted(name for part in parts.values() for name in names(part)) == names(whole)
    seconds = {name: sum(map(float, read_table(part / "utt2dur").values())) for name, part in parts.items()}
    total = sum(seconds.values())
    for name, share in (("train", 0.7), ("dev", 0.2), ("test", 0.1)):
        assert seconds[name] / total == pytest.approx(share, abs=0.04)
        assert validate(parts[name]) == []
    first = {name: names(part) for name, part in parts.items()}
    data("split", whole, "--parts", "train=70,dev=20,test=10", "--out", tmp_path / "parts")
    assert {name: names(part) for name, part in parts.items()} == first
    data("split", whole, "--parts", "train=70,dev=20,test=10", "--seed", 2, "--out", tmp_path / "parts")
    assert {name: names(part) for name, part in parts.items()} != first
    with pytest.raises(InputError, match="2 speakers cannot be split into 3 parts without overlap"):
        data("split", make(tmp_path / "two", {"a": 9, "b": 9}), "--parts", "a=1,b=1,c=1", "--out", tmp_path / "x")


def test_a_copy_has_transcripts_made_alike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = make(tmp_path / "whole", {"a": 3})
    (whole / "text").write_text("a-0 Hello, you!\na-1 ...\na-2 Nr. 5\n")
    data("copy", whole, "--case", "upper", "--punctuation", "remove", "--out", tmp_path / "copy")
    assert read_table(tmp_path / "copy/text") == {"a-0": "HELLO YOU", "a-2": "NR 5"}
    assert validate(tmp_path / "copy") == []
    said = capsys.readouterr()
    assert said.out == f"{tmp_path}/copy: 2 utterances of 1 speaker, 0.00 h; 1 without words left out\n"
    assert "1 of 2 transcripts hold digits" in said.err
    (whole / "text").write_text("a-0 Hello, you!\na-1\na-2 Nr. 5\n")
    (whole / "utt2dur").unlink()
    data("subset", whole, "--every", 1, "--out", tmp_path / "subset")
    assert capsys.readouterr().out.endswith("subset: 2 utterances of 1 speaker, 0.00 h; 1 without words left out\n")
    assert validate(tmp_path / "subset") == []


@pytest.mark.parametrize("offset", [0.0, 20.8])
def test_statistics_of_features_made_elsewhere(
    tmp_path: Path, offset: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """By kaldiio, with Kaldi's compression, on its scale and on ours."""
    random = np.random.default_rng(1)
    feats = {
        f"a-{number}": (random.normal(-5, 3, (20 + number, 23)) + offset).astype(np.float32) for number in range(4)
    }
    source = tmp_path / "fbank"
    source.mkdir()
    kaldiio.save_ark(str(source / "raw.ark"), feats, scp=str(source / "feats.scp"), compression_method=2)
    (source / "utt2spk").write_text("".join(f"{name} a\n" for name in feats))
    (source / "text").write_text("".join(f"{name} words\n" for name in feats))
    before = state(source)
    data("cmvn", source, "--out", tmp_path / "out")
    assert state(source) == before
    assert read_table(tmp_path / "out/utt2num_frames") == {name: str(len(one)) for name, one in feats.items()}
    stored = np.concatenate(list(kaldiio.load_scp(str(source / "feats.scp")).values()))
    mean, istd = read_cmvn(tmp_path / "out/cmvn.ark")
    assert np.allclose(mean.numpy(), stored.mean(0), atol=1e-4)
    assert np.allclose(istd.numpy(), 1 / stored.std(0), rtol=1e-4)
    said = capsys.readouterr().out
    assert "86 frames of 23 dimensions" in said
    assert ("of 16-bit samples, as Kaldi has them" in said) is (offset > 0)
    assert ("of samples in [-1, 1]" in said) is (offset == 0)
    assert validate(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["subset", "nowhere", "--every", "2", "--out", "x"], "nowhere: no such data directory"),
        (["subset", "whole", "--list", "list", "--out", "x"], "whole: has no utterance b-9"),
        (["subset", "whole", "--hours", "0.00001", "--out", "x"], "--hours 1e-05: not one utterance is so short"),
        (["copy", "whole", "--out", "whole"], "whole: exists and is no data directory of `dualtk data`"),
        (["cmvn", "whole", "--out", "x"], "whole: has no feats.scp"),
    ],
)
def test_faults_are_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = state(make(Path("whole"), {"a": 2}))
    Path("list").write_text("b-9\n")
    assert run(main, arguments) == 2
    assert capsys.readouterr().err.startswith(f"dualtk: error: {message}")
    assert state(Path("whole")) == before
    assert not Path("x").exists()
