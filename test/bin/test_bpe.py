"""`dualtk bpe` as a user runs it."""

from __future__ import annotations

import pytest

from dualtk.bin.dualtk import main
from dualtk.data.bpe import Wordpieces

TEXT = "a THE EARLY BIRD\nb CATCHES THE WORM\nc THE BIRD IS EARLY\n"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text(TEXT)
    (tmp_path / "plain").write_text("".join(line.split(" ", 1)[1] + "\n" for line in TEXT.splitlines()))
    return tmp_path


def test_bpe(folder, capsys):
    arguments = ["bpe", "--text", "text", "--nbpe", "25", "--type", "bpe"]
    assert main(arguments) == 0
    assert capsys.readouterr().out == "data/lang_bpe25: 25 wordpieces written\n"
    assert Wordpieces(folder / "data" / "lang_bpe25").vocab_size == 25
    assert main(arguments) == 0
    assert capsys.readouterr().out == "data/lang_bpe25: 25 wordpieces unchanged\n"
    assert main(["bpe", "--plain", "plain", "--nbpe", "25", "--type", "bpe", "--output", "other"]) == 0
    assert (folder / "other" / "tokens.txt").read_text() == (folder / "data/lang_bpe25/tokens.txt").read_text()


def test_bad_input(folder, capsys):
    assert main(["bpe", "--text", "text", "--nbpe", "500"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("dualtk: error: vocabulary size 500 is too large for this text: at most ")
    assert error.count("\n") == 1
    assert main(["bpe", "--text", "nothing"]) == 2
    assert capsys.readouterr().err == "dualtk: error: nothing: cannot be read: No such file or directory\n"
    assert main(["bpe", "--plain", "nothing"]) == 2
    assert capsys.readouterr().err == "dualtk: error: nothing: cannot be read: No such file or directory\n"
    (folder / "plain").write_bytes(b"\xff\n")
    assert main(["bpe", "--plain", "plain"]) == 2
    assert "plain: is not UTF-8" in capsys.readouterr().err
    assert not (folder / "data").exists()
