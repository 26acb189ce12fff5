"""LibriSpeech's layout to data directories."""

from __future__ import annotations

import pytest

from dualtk.data.librispeech import prepare
from dualtk.data.validation import validate
from dualtk.errors import InputError
from dualtk.tables import read_table


@pytest.mark.parametrize("parent", ["", "LibriSpeech"])
def test_prepare(make_librispeech, tmp_path, parent):
    make_librispeech(tmp_path / "corpus" / parent)
    directory = tmp_path / "data" / "dev_clean"
    assert prepare(tmp_path / "corpus", ["dev-clean"], directory)
    assert validate(directory, decode_audio=True) == []
    assert list(read_table(directory / "text")) == [f"{s}-7-000{n}" for s in (10, 11) for n in range(3)]
    assert read_table(directory / "text")["11-7-0002"] == "HELLO WORLD C"
    assert read_table(directory / "utt2spk")["11-7-0002"] == "11"
    assert read_table(directory / "utt2dur")["11-7-0002"] == "0.4000"
    assert not prepare(tmp_path / "corpus", ["dev-clean"], directory)


def test_real_subset(test_data, tmp_path):
    """Read as it is shipped the set holds no audio that we decode, and says so."""
    with pytest.raises(InputError, match="dev-clean: has no <speaker>/<chapter>/ with audio"):
        prepare(test_data / "librispeech-mini", ["dev-clean"], tmp_path / "dev_clean")


def test_combine_and_word_times(make_librispeech, tmp_path):
    root = tmp_path / "corpus"
    make_librispeech(root, "dev-clean", speakers=1)
    (root / "dev-clean" / "10").rename(root / "dev-clean" / "9")
    chapter = root / "dev-clean" / "9" / "7"
    for path in chapter.iterdir():
        path.rename(chapter / path.name.replace("10-", "9-"))
    transcript = chapter / "9-7.trans.txt"
    transcript.write_text(transcript.read_text().replace("10-7", "9-7"))
    make_librispeech(root, "dev-other")
    (root / "dev-other.ctm").write_text("11-7-0000 1 0.10 0.20 HELLO\n11-7-0000 1 0.05 0.05 OH\n7-7-7 1 0 1 STRANGER\n")
    given = tmp_path / "given.ctm"
    given.write_text(";; a comment\n10-7-0000 1 0.1 0.2 HELLO\n")
    directory = tmp_path / "data" / "train"
    assert prepare(root, ["dev-clean", "dev-other"], directory, [given])
    assert len(read_table(directory / "text")) == 9
    assert validate(directory) == []
    assert (directory / "words.ctm").read_text() == (
        "10-7-0000 1 0.1 0.2 HELLO\n11-7-0000 1 0.10 0.20 HELLO\n11-7-0000 1 0.05 0.05 OH\n"
    )
    given.write_text("10-7-0000 1 0.1 HELLO\n")
    with pytest.raises(InputError, match=r"given.ctm:1: expected `utt channel start duration WORD`"):
        prepare(root, ["dev-clean", "dev-other"], directory, [given])


def test_changes_are_seen(make_librispeech, write_audio, tmp_path):
    folder = make_librispeech(tmp_path / "corpus")
    directory = tmp_path / "data"
    prepare(tmp_path / "corpus", ["dev-clean"], directory)
    transcript = folder / "10" / "7" / "10-7.trans.txt"
    transcript.write_text(transcript.read_text().replace("HELLO", "GOODBYE"))
    assert prepare(tmp_path / "corpus", ["dev-clean"], directory)
    assert read_table(directory / "text")["10-7-0000"] == "GOODBYE WORLD A"
    write_audio(folder / "10" / "7" / "10-7-0000.flac", 0.9, seed=5)
    assert prepare(tmp_path / "corpus", ["dev-clean"], directory)
    assert read_table(directory / "utt2dur")["10-7-0000"] == "0.9000"


def test_faults(make_librispeech, write_audio, tmp_path):
    def fault(damage):
        root = tmp_path / damage.__name__
        damage(make_librispeech(root) / "10" / "7")
        with pytest.raises(InputError) as caught:
            prepare(root, ["dev-clean"], root / "data")
        assert not (root / "data" / "wav.scp").exists()
        return str(caught.value).removeprefix(f"{root}/dev-clean/10/7/")

    def rewrite(chapter, old, new):
        path = chapter / "10-7.trans.txt"
        path.write_text(path.read_text().replace(old, new))

    def no_audio(chapter):
        (chapter / "10-7-0001.flac").unlink()

    def no_transcript(chapter):
        rewrite(chapter, "10-7-0001 HELLO WORLD B\n", "")

    def no_words(chapter):
        rewrite(chapter, "10-7-0001 HELLO WORLD B\n", "10-7-0001\n")

    def twice(chapter):
        rewrite(chapter, "10-7-0001", "10-7-0000")

    def elsewhere(chapter):
        rewrite(chapter, "10-7-0001", "11-7-0001")

    def corrupt(chapter):
        (chapter / "10-7-0001.flac").write_bytes(b"fLaC and no more")

    def stereo(chapter):
        write_audio(chapter / "10-7-0001.flac", channels=2)

    assert fault(no_audio) == "10-7.trans.txt:2: utterance 10-7-0001 has no audio file (or two transcripts)"
    assert fault(no_transcript) == "10-7-0001.flac: utterance 10-7-0001 has no transcript"
    assert fault(no_words) == "10-7.trans.txt:2: 10-7-0001 has no value (an empty transcript)"
    assert fault(twice).startswith("10-7.trans.txt:2: 10-7-0000 occurs twice (first in line 1)")
    assert fault(elsewhere) == "10-7.trans.txt:2: utterance 11-7-0001 is not of 10/7"
    assert fault(corrupt).startswith("10-7-0001.flac: cannot be decoded")
    assert fault(stereo) == "10-7-0001.flac: has 2 channels, expected one (mono)"


def test_no_such_set(tmp_path):
    with pytest.raises(InputError, match="holds no set dev-clean"):
        prepare(tmp_path, ["dev-clean"], tmp_path / "data")
