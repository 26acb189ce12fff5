"""A corpus in a spreadsheet, by `dualtk prepare-table`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dualtk.bin.prepare_table import main
from dualtk.data.kaldi import read_audio_sources
from dualtk.data.validation import validate
from dualtk.errors import InputError
from dualtk.tables import read_table


def write_audio(path: Path, seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(len(path.name)).normal(size=round(16000 * seconds))
    soundfile.write(path, 0.1 * noise, 16000)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """As Common Voice has it: a TSV, and clips in a folder of their own."""
    rows = ["client_id\tpath\tsentence\tup_votes"]
    sentences = ["Hello, world!", 'He said: "No."', "", "It\u2019s 5 (o\u2019clock)."]
    for number, sentence in enumerate(sentences):
        write_audio(tmp_path / f"clips/c{number}.flac", 0.5 + 0.1 * number)
        rows.append(f"s{number % 2}\tc{number}.flac\t{sentence}\t2")
    (tmp_path / "validated.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return tmp_path


def arguments(corpus: Path, *others: str) -> list[str]:
    options = [str(corpus / "validated.tsv"), "--audio", "path", "--text", "sentence", "--out", str(corpus / "data")]
    return [*options, "--audio-dir", str(corpus / "clips"), *others]


def test_common_voice(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(corpus, "--speaker", "client_id", "--case", "upper", "--punctuation", "remove")) == 0
    said = capsys.readouterr()
    assert said.out == f"{corpus}/data: 3 utterances of 2 speakers, 0.00 h\n"
    assert f"validated.tsv: 1 row without words left out, the first is {corpus}/validated.tsv:4" in said.err
    assert "1 of 3 transcripts hold digits" in said.err
    assert validate(corpus / "data") == []
    texts = {"s0-c0": "HELLO WORLD", "s1-c1": "HE SAID NO", "s1-c3": "IT'S 5 O'CLOCK"}
    assert read_table(corpus / "data/text") == texts
    assert read_table(corpus / "data/utt2dur")["s1-c3"] == "0.8000"
    assert read_audio_sources(corpus / "data")["s1-c1"].path == corpus / "clips/c1.flac"


def test_without_speakers_each_utterance_has_its_own(corpus: Path) -> None:
    assert main(arguments(corpus, "--id", "path")) == 0
    assert read_table(corpus / "data/utt2spk") == {name: name for name in ("c0.flac", "c1.flac", "c3.flac")}
    assert read_table(corpus / "data/text")["c1.flac"] == 'He said: "No."'


def test_a_manifest_of_parts_of_recordings(tmp_path: Path) -> None:
    """As NeMo's tools cut long recordings."""
    write_audio(tmp_path / "talk 1.wav", 3.0)
    parts = [(0.0, 1.25, "one"), (1.25, 0.75, "two"), (2.0, 1.0, "three")]
    lines = [
        {"audio_filepath": "talk 1.wav", "offset": offset, "duration": duration, "text": text}
        for offset, duration, text in parts
    ]
    (tmp_path / "manifest.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    options = ["--audio", "audio_filepath", "--text", "text", "--duration", "duration", "--offset", "offset"]
    assert main([str(tmp_path / "manifest.json"), *options, "--out", str(tmp_path / "data")]) == 0
    assert validate(tmp_path / "data") == []
    assert read_table(tmp_path / "data/text") == {
        "talk_1-0000000-0000125": "one",
        "talk_1-0000125-0000200": "two",
        "talk_1-0000200-0000300": "three",
    }
    sources = read_audio_sources(tmp_path / "data")
    assert [(one.start, one.end) for one in sources.values()] == [(0.0, 1.25), (1.25, 2.0), (2.0, 3.0)]


@pytest.mark.parametrize(
    ("line", "options", "message"),
    [
        (
            "s0\tc9.flac\tx\t1",
            [],
            r"validated\.tsv:6: no audio file c9\.flac in .*clips, where paths begin",
        ),
        ("s0\tc9.flac\tx\t1\ns0\tc8.flac\tx\t1", [], r"c9\.flac in .*clips.* \(and 1 more such lines\)"),
        ("s0\tc0.flac\tx\t1", [], r"validated\.tsv:6: utterance c0 is in .*validated\.tsv:2 too"),
        ("\tc2.flac\tx\t1", ["--speaker", "client_id"], r"validated\.tsv:6: has no client_id"),
        ("s0\tc2.flac\tx\tlong", ["--duration", "up_votes"], r"validated\.tsv:6: up_votes is long, expected seconds"),
        ("s0\tc2.flac\tx\t1", ["--speaker", "speaker"], r"no column speaker \(--speaker\); it has: client_id, path"),
        ("s0\tc2.flac\tx\t1", ["--offset", "up_votes"], "--offset: needs --duration too"),
        ("s0\t../bad.wav\tx\t1", [], r"validated\.tsv:6: .*bad\.wav: cannot be decoded"),
    ],
)
def test_faults_name_their_line_and_nothing_is_written(
    corpus: Path, line: str, options: list[str], message: str
) -> None:
    (corpus / "bad.wav").write_bytes(b"no audio")
    with (corpus / "validated.tsv").open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")
    with pytest.raises(InputError, match=message):
        main(arguments(corpus, *options))
    assert not (corpus / "data").exists()


def test_a_folder_of_others_is_never_replaced(corpus: Path) -> None:
    (corpus / "data").mkdir()
    (corpus / "data/mine").write_text("mine")
    with pytest.raises(InputError, match="data: exists and is no data directory of `dualtk data`"):
        main(arguments(corpus))
    assert [path.name for path in (corpus / "data").iterdir()] == ["mine"]
    (corpus / "data/mine").unlink()
    assert main(arguments(corpus)) == 0
    assert main(arguments(corpus, "--speaker", "client_id")) == 0  # what it wrote itself it writes again
    assert "s0-c0" in read_table(corpus / "data/text")


def table(folder: Path, content: str, *others: str, name: str = "a.csv") -> int:
    (folder / name).write_text(content, encoding="utf-8")
    options = [str(folder / name), "--audio", "path", "--text", "text", "--out", str(folder / "data"), *others]
    return main(options)


def test_ljspeech_has_no_header_and_no_endings(tmp_path: Path) -> None:
    for number in (1, 2):
        write_audio(tmp_path / f"wavs/LJ001-{number}.wav", 0.5)
    (tmp_path / "metadata.csv").write_text('LJ001-1|In 1455, "so|in fourteen\nLJ001-2|b, c|b c\n')
    options = ["--audio", "1", "--text", "3", "--no-header", "--audio-dir", str(tmp_path / "wavs")]
    assert main([str(tmp_path / "metadata.csv"), *options, "--out", str(tmp_path / "data")]) == 0
    assert read_table(tmp_path / "data/text") == {"LJ001-1": "in fourteen", "LJ001-2": "b c"}


def test_files_of_one_name_in_several_folders_are_called_by_these_too(tmp_path: Path) -> None:
    for path in ("a/x/1.wav", "b/x/1.wav", "b/x/2.wav"):
        write_audio(tmp_path / path, 0.5)
    content = "path,text,begin,length\na/x/1.wav,one,0,0.2\nb/x/1.wav,two,0,0.3\nb/x/2.wav,three,0,0.5\n"
    assert table(tmp_path, content) == 0
    assert list(read_table(tmp_path / "data/text")) == ["a-x-1", "b-x-1", "b-x-2"]
    assert table(tmp_path, content, "--offset", "begin", "--duration", "length") == 0
    assert list(read_table(tmp_path / "data/wav.scp")) == ["a-x-1", "b-x-1", "b-x-2"]


def test_a_row_that_says_the_same_again_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_audio(tmp_path / "1.wav", 0.5)
    assert table(tmp_path, "path,text\n1.wav,one\n1.wav,one\n") == 0
    assert "a.csv: 1 repeated row left out" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"a\.csv:3: utterance 1 is in .*a\.csv:2 too, with another transcript"):
        table(tmp_path, "path,text\n1.wav,one\n1.wav,two\n")


def test_audio_of_the_folder_is_taken_before_that_of_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_audio(tmp_path / "1.wav", 0.5)
    write_audio(tmp_path / "right/1.wav", 0.7)
    monkeypatch.chdir(tmp_path)
    assert table(tmp_path, "path,text\n1.wav,one\n", "--audio-dir", "right") == 0
    assert read_table(tmp_path / "data/wav.scp") == {"1": str(tmp_path / "right/1.wav")}


def test_a_path_of_windows_and_one_of_two_endings(tmp_path: Path) -> None:
    write_audio(tmp_path / "x/1.wav", 0.5)
    assert table(tmp_path, "path,text\nx\\1.wav,one\n") == 0
    write_audio(tmp_path / "x/1.flac", 0.5)
    with pytest.raises(InputError, match=r"a\.csv:2: x/1 may be .*1\.wav or .*1\.flac; add the ending"):
        table(tmp_path, "path,text\nx/1,one\n")


def test_a_channel_of_several(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "1.wav", np.random.default_rng(0).normal(size=(8000, 3)) / 10, 16000)
    with pytest.raises(InputError, match=r"a\.csv:2: .*1\.wav: has 3 channels, expected one \(mono\): --channel"):
        table(tmp_path, "path,text\n1.wav,one\n")
    assert table(tmp_path, "path,text\n1.wav,one\n", "--channel", "3") == 0
    assert validate(tmp_path / "data") == []
    assert str(read_audio_sources(tmp_path / "data")["1"].reading.steps).count("(2,)") == 1


@pytest.mark.parametrize("words", ['["hello", "world"]', '{"a": [1]}'])
def test_a_transcript_that_is_no_text_is_named(tmp_path: Path, words: str) -> None:
    write_audio(tmp_path / "a.wav", 0.5)
    (tmp_path / "a.jsonl").write_text(f'{{"path": "a.wav", "text": {words}}}\n')
    options = ["--audio", "path", "--text", "text" if words[0] == "[" else "text.a", "--out", str(tmp_path / "data")]
    with pytest.raises(InputError, match=r"a\.jsonl:1: text(\.a)? is a list, expected text"):
        main([str(tmp_path / "a.jsonl"), *options])


@pytest.mark.parametrize(("offset", "duration"), [(3.5, 0.5), (2.0, 2.0), (0.0, 4.0)])
def test_a_part_beyond_its_recording_is_named(tmp_path: Path, offset: float, duration: float) -> None:
    write_audio(tmp_path / "talk.wav", 3.0)
    line = {"path": "talk.wav", "text": "x", "offset": offset, "duration": duration}
    good = {"path": "talk.wav", "text": "x", "offset": 0.0, "duration": 3.4}  # half a second is allowed, as by Kaldi
    (tmp_path / "a.jsonl").write_text(f"{json.dumps(good)}\n{json.dumps(line)}\n")
    columns = ["--audio", "path", "--text", "text", "--duration", "duration", "--offset", "offset"]
    with pytest.raises(InputError, match=r"a\.jsonl:2: .*talk\.wav: ends at 3\.00 s"):
        main([str(tmp_path / "a.jsonl"), *columns, "--out", str(tmp_path / "data")])
    assert not (tmp_path / "data").exists()
