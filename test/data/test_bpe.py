"""Wordpieces on real English text."""

from __future__ import annotations

import pytest
import sentencepiece

from dualtk.data.bpe import Wordpieces, train_wordpieces, write_language
from dualtk.errors import InputError

PROVERBS = [
    "THE EARLY BIRD CATCHES THE WORM",
    "A ROLLING STONE GATHERS NO MOSS",
    "THE GRASS IS ALWAYS GREENER ON THE OTHER SIDE",
    "ACTIONS SPEAK LOUDER THAN WORDS AND WORDS LOUDER THAN STONES",
]


@pytest.fixture(scope="module")
def sentences(test_data):
    lines = (test_data / "text" / "train-clean-100.txt").read_text().splitlines()
    return [line.split(" ", 1)[1] for line in lines[:2000]]


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_language_directory(tmp_path, sentences, model_type):
    directory = tmp_path / "data" / "lang"
    assert write_language(directory, sentences, 300, model_type)
    wordpieces = Wordpieces(directory)
    assert wordpieces.vocab_size == 300
    for sentence in sentences[:200]:
        ids = wordpieces.encode(sentence)
        assert min(ids) > 1
        assert wordpieces.decode(ids) == sentence
    tokens = [line.split(" ") for line in (directory / "tokens.txt").read_text().splitlines()]
    assert tokens[:2] == [["<blk>", "0"], ["<unk>", "1"]]
    assert [piece for piece, _ in tokens] == wordpieces.pieces
    assert [int(index) for _, index in tokens] == list(range(300))
    vocabulary = [line.split("\t")[0] for line in (directory / "bpe.vocab").read_text().splitlines()]
    assert vocabulary == wordpieces.pieces
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(directory / "bpe.model"))
    assert theirs.encode(sentences[0]) == wordpieces.encode(sentences[0])
    assert not write_language(directory, sentences, 300, model_type)
    assert write_language(directory, sentences, 310, model_type)
    assert Wordpieces(directory / "bpe.model").vocab_size == 310
    assert [path.name for path in directory.parent.iterdir()] == ["lang"]


def test_unknown_and_blank_in_text(tmp_path):
    write_language(tmp_path / "lang", PROVERBS, 40)
    wordpieces = Wordpieces(tmp_path / "lang")
    assert 1 in wordpieces.encode("THE ÜBER BIRD")
    assert "<unk>" in wordpieces.decode(wordpieces.encode("THE ÜBER BIRD"))
    assert 0 not in wordpieces.encode("<blk> THE <blk>")
    assert wordpieces.encode("") == []


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_the_largest_size_is_true(model_type):
    with pytest.raises(InputError, match=r"vocabulary size 5000 is too large for this text: at most \d+ for") as caught:
        train_wordpieces(PROVERBS, 5000, model_type)
    largest = int(str(caught.value).split("at most ")[1].split(" ")[0])
    assert train_wordpieces(PROVERBS, largest, model_type)
    with pytest.raises(InputError, match=f"at most {largest} "):
        train_wordpieces(PROVERBS, largest + 1, model_type)


def test_the_smallest_size_is_true():
    with pytest.raises(
        InputError, match=r"vocabulary size 5 is too small for this text: its characters alone need \d+"
    ) as caught:
        train_wordpieces(PROVERBS, 5)
    smallest = int(str(caught.value).split("need ")[1])
    assert train_wordpieces(PROVERBS, smallest)
    with pytest.raises(InputError, match="too small"):
        train_wordpieces(PROVERBS, smallest - 1)


def test_same_text_same_bytes(sentences):
    assert train_wordpieces(sentences, 200) == train_wordpieces(sentences, 200)


def test_refused(tmp_path):
    with pytest.raises(InputError, match="wordpiece type char: expected one of unigram, bpe"):
        train_wordpieces(PROVERBS, 40, "char")
    with pytest.raises(InputError, match="no text"):
        train_wordpieces(["", " "], 40)
    with pytest.raises(InputError, match=r"bpe.model: cannot be read: No such file"):
        Wordpieces(tmp_path)
    (tmp_path / "bpe.model").write_bytes(b"no model")
    with pytest.raises(InputError, match=r"bpe.model: is no sentencepiece model"):
        Wordpieces(tmp_path)
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(PROVERBS), model_prefix=str(tmp_path / "bpe"), vocab_size=40, minloglevel=2
    )
    with pytest.raises(InputError, match=r"bpe.model: its first pieces are \['<unk>', '<s>'\]"):
        Wordpieces(tmp_path)


def test_a_failure_leaves_nothing(tmp_path):
    with pytest.raises(InputError):
        write_language(tmp_path / "lang", PROVERBS, 5000)
    assert list(tmp_path.iterdir()) == []
