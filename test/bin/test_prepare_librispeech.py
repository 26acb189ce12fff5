"""`dualtk prepare-librispeech` as a user runs it."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from dualtk.bin.dualtk import main
from dualtk.tables import read_table


@pytest.fixture(autouse=True)
def corpus(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, speaker in (("dev-clean", "1"), ("dev-other", "2")):
        chapter = tmp_path / "corpus" / "LibriSpeech" / name / speaker / "3"
        chapter.mkdir(parents=True)
        soundfile.write(chapter / f"{speaker}-3-0000.flac", np.zeros(8000), 16000)
        (chapter / f"{speaker}-3.trans.txt").write_text(f"{speaker}-3-0000 HELLO\n")
    return tmp_path


def test_sets_and_combine(corpus, capsys):
    arguments = ["prepare-librispeech", "--librispeech", "corpus", "--sets", "dev-clean", "dev-other"]
    arguments += ["--combine", "dev", "dev-clean", "dev-other"]
    assert main(arguments) == 0
    assert main(["validate", "data/dev", "data/dev_clean", "data/dev_other"]) == 0
    assert list(read_table(corpus / "data" / "dev" / "text")) == ["1-3-0000", "2-3-0000"]
    capsys.readouterr()
    assert main(arguments) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "data/dev: unchanged: dev-clean dev-other"


def test_bad_input(capsys):
    base = ["prepare-librispeech", "--librispeech", "corpus"]
    for arguments, message in (
        ([], "--sets or --combine: name at least one set"),
        (
            ["--sets", "dev-clean", "--combine", "dev_clean", "dev-other"],
            "--combine dev_clean: needs a name of its own",
        ),
        (["--sets", "test-clean"], "corpus: holds no set test-clean"),
        (["--sets", "dev-clean", "--ctm", "nothing.ctm"], "nothing.ctm: no such file of word times"),
    ):
        assert main([*base, *arguments]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"dualtk: error: {message}")
        assert error.count("\n") == 1


def test_download_of_what_is_there(capsys):
    assert main(["prepare-librispeech", "--librispeech", "corpus", "--sets", "dev-clean", "--download"]) == 0
    assert capsys.readouterr().out == "dev-clean: is there already\n"
