"""`dualtk tokens` as a user runs it."""

from __future__ import annotations

import pytest

from dualtk.bin.dualtk import main
from dualtk.data.tokens import Tokenizer

SIZE = ["--set"]
BPE25 = ["--set", "tokens.size=25", "--set", "tokens.type=bpe"]
TEXT = "a THE EARLY BIRD\nb CATCHES THE WORM\nc THE BIRD IS EARLY\n"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text(TEXT)
    (tmp_path / "plain").write_text("".join(line.split(" ", 1)[1] + "\n" for line in TEXT.splitlines()))
    return tmp_path


def test_tokens(folder, capsys):
    arguments = ["tokens", "--text", "text", *BPE25, "--out", "data/bpe25"]
    assert main(arguments) == 0
    assert capsys.readouterr().out == "data/bpe25: 25 tokens written\n"
    assert Tokenizer(folder / "data" / "bpe25").vocab_size == 25
    assert main(arguments) == 0
    assert capsys.readouterr().out == "data/bpe25: 25 tokens unchanged\n"
    assert main(["tokens", "--plain", "plain", *BPE25, "--out", "other"]) == 0
    assert (folder / "other" / "tokens.txt").read_text() == (folder / "data/bpe25/tokens.txt").read_text()


def test_as_many_as_the_text_allows(folder, capsys):
    assert main(["tokens", "--out", "data/lang", "--text", "text", *SIZE, "tokens.size=500"]) == 0
    size = Tokenizer(folder / "data/lang").vocab_size
    assert 20 < size < 500
    assert capsys.readouterr().out == (
        f"data/lang: {size} tokens written (tokens.size is 500, this text allows no more)\n"
    )


def test_bad_input(folder, capsys):
    assert main(["tokens", "--out", "data/lang", "--text", "text", *SIZE, "tokens.size=5"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("dualtk: error: tokens.size: 5 is too small for this text: its characters alone need ")
    assert error.count("\n") == 1
    assert main(["tokens", "--out", "data/lang", "--text", "nothing"]) == 2
    assert capsys.readouterr().err == "dualtk: error: nothing: cannot be read: No such file or directory\n"
    assert main(["tokens", "--out", "data/lang", "--plain", "nothing"]) == 2
    assert capsys.readouterr().err == "dualtk: error: nothing: cannot be read: No such file or directory\n"
    (folder / "plain").write_bytes(b"\xff\n")
    assert main(["tokens", "--out", "data/lang", "--plain", "plain"]) == 2
    assert "plain:1: is not UTF-8" in capsys.readouterr().err
    assert not (folder / "data").exists()
    assert main(["tokens", "--text", "text", "--out", "data/lang", *SIZE, "tokens.size=0"]) == 2
    assert capsys.readouterr().err == "dualtk: error: --set tokens.size=0: tokens.size: must be greater than 0, not 0\n"
    assert main(["tokens", "--text", "text", "--out", "data/lang", *SIZE, "model.encoder.dim=3"]) == 2
    assert "--set model.encoder.dim=3: without --config there is only the section tokens" in capsys.readouterr().err


def test_text_of_other_systems(folder):
    """Tabs, a byte order mark and CRLF change nothing."""
    assert main(["tokens", "--text", "text", "--out", "one", *BPE25]) == 0
    (folder / "text").write_bytes(b"\xef\xbb\xbf" + TEXT.replace(" ", "\t", 1).replace("\n", "\r\n").encode())
    (folder / "plain").write_bytes(b"\xef\xbb\xbf" + (folder / "plain").read_bytes().replace(b"\n", b"\r\n"))
    for number, source in enumerate(("text", "plain")):
        assert main(["tokens", f"--{source}", source, "--out", str(number), *BPE25]) == 0
        assert (folder / str(number) / "bpe.model").read_bytes() == (folder / "one" / "bpe.model").read_bytes()
