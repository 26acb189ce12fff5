"""Tokens on real English text."""

from __future__ import annotations

import pytest
import sentencepiece

from dualtk.data.tokens import Tokenizer, TokenOptions, train_tokenizer, write_tokenizer
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


@pytest.mark.slow
@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_language_directory(tmp_path, sentences, model_type):
    directory = tmp_path / "data" / "lang"
    assert write_tokenizer(directory, sentences, TokenOptions(type=model_type, size=300))
    tokenizer = Tokenizer(directory)
    assert tokenizer.vocab_size == 300
    for sentence in sentences[:200]:
        ids = tokenizer.encode(sentence)
        assert min(ids) > 1
        assert tokenizer.decode(ids) == sentence
    tokens = [line.split(" ") for line in (directory / "tokens.txt").read_text().splitlines()]
    assert tokens[:2] == [["<blk>", "0"], ["<unk>", "1"]]
    assert [piece for piece, _ in tokens] == tokenizer.pieces
    assert [int(index) for _, index in tokens] == list(range(300))
    vocabulary = [line.split("\t")[0] for line in (directory / "bpe.vocab").read_text().splitlines()]
    assert vocabulary == tokenizer.pieces
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(directory / "bpe.model"))
    assert theirs.encode(sentences[0]) == tokenizer.encode(sentences[0])
    assert not write_tokenizer(directory, sentences, TokenOptions(type=model_type, size=300))
    assert write_tokenizer(directory, sentences, TokenOptions(type=model_type, size=310))
    assert Tokenizer(directory / "bpe.model").vocab_size == 310
    assert [path.name for path in directory.parent.iterdir()] == ["lang"]


def test_unknown_and_blank_in_text(tmp_path):
    write_tokenizer(tmp_path / "lang", PROVERBS, TokenOptions(size=40))
    tokenizer = Tokenizer(tmp_path / "lang")
    assert 1 in tokenizer.encode("THE ÜBER BIRD")
    assert "<unk>" in tokenizer.decode(tokenizer.encode("THE ÜBER BIRD"))
    assert 0 not in tokenizer.encode("<blk> THE <blk>")
    assert tokenizer.encode("") == []


def size_of(model: bytes) -> int:
    processor = sentencepiece.SentencePieceProcessor()
    processor.LoadFromSerializedProto(model)
    return processor.GetPieceSize()


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_as_many_as_the_text_allows(model_type):
    most = train_tokenizer(PROVERBS, TokenOptions(type=model_type, size=5000))
    largest = size_of(most)
    assert 30 < largest < 5000
    assert train_tokenizer(PROVERBS, TokenOptions(type=model_type, size=largest + 1)) == most
    assert size_of(train_tokenizer(PROVERBS, TokenOptions(type=model_type, size=largest - 1))) == largest - 1


def test_the_smallest_size_is_true():
    fault = r"tokens.size: 5 is too small for this text: its characters alone need \d+"
    with pytest.raises(InputError, match=fault) as caught:
        train_tokenizer(PROVERBS, TokenOptions(size=5))
    smallest = int(str(caught.value).split("need ")[1])
    assert train_tokenizer(PROVERBS, TokenOptions(size=smallest))
    with pytest.raises(InputError, match="too small"):
        train_tokenizer(PROVERBS, TokenOptions(size=smallest - 1))


@pytest.mark.slow
def test_same_text_same_bytes(sentences):
    assert train_tokenizer(sentences, TokenOptions(size=200)) == train_tokenizer(sentences, TokenOptions(size=200))


def test_refused(tmp_path):
    with pytest.raises(ValueError, match=r"type\n.*'unigram', 'bpe' or 'char'"):
        TokenOptions(type="word")
    with pytest.raises(ValueError, match="size"):
        TokenOptions(size=0)
    with pytest.raises(InputError, match="no text"):
        train_tokenizer(["", " "], TokenOptions(size=40))
    with pytest.raises(InputError, match=r"bpe.model: cannot be read: No such file"):
        Tokenizer(tmp_path)
    (tmp_path / "bpe.model").write_bytes(b"no model")
    with pytest.raises(InputError, match=r"bpe.model: is no sentencepiece model"):
        Tokenizer(tmp_path)
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(PROVERBS), model_prefix=str(tmp_path / "bpe"), vocab_size=40, minloglevel=2
    )
    with pytest.raises(InputError, match=r"bpe.model: its first tokens are \['<unk>', '<s>'\]"):
        Tokenizer(tmp_path)


def test_a_failure_leaves_nothing(tmp_path):
    with pytest.raises(InputError):
        write_tokenizer(tmp_path / "lang", PROVERBS, TokenOptions(size=5))
    assert list(tmp_path.iterdir()) == []


def test_a_label_follows_from_the_values():
    assert (TokenOptions().label, TokenOptions(type="bpe", size=28).label) == ("unigram500", "bpe28")


def test_a_folder_of_other_things_is_kept(tmp_path):
    (tmp_path / "keep").mkdir()
    (tmp_path / "keep" / "notes.txt").write_text("precious")
    for path in (tmp_path / "keep", tmp_path / "keep" / "notes.txt"):
        with pytest.raises(InputError, match="exists and is no folder of tokens"):
            write_tokenizer(path, PROVERBS, TokenOptions(size=40))
    assert (tmp_path / "keep" / "notes.txt").read_text() == "precious"


def test_characters_as_tokens(tmp_path):
    write_tokenizer(tmp_path / "lang", PROVERBS, TokenOptions(type="char"))
    tokenizer = Tokenizer(tmp_path / "lang")
    assert set(tokenizer.pieces[2:]) == {"\u2581"} | set("".join(PROVERBS).replace(" ", ""))
    assert tokenizer.decode(tokenizer.encode("THE BIRD")) == "THE BIRD"


def test_bytes_stand_for_characters_that_the_text_lacks(tmp_path):
    options = TokenOptions(type="char", size=300, byte_fallback=True)
    write_tokenizer(tmp_path / "lang", PROVERBS, options)
    tokenizer = Tokenizer(tmp_path / "lang")
    ids = tokenizer.encode("THE ÜBER \u732b")
    assert 1 not in ids
    assert tokenizer.decode(ids) == "THE ÜBER \u732b"
    assert tokenizer.unknown_in([("a", "ÜBER \u732b")]).unknown == 0
    assert options.label == "char300-bytes"
    with pytest.raises(InputError, match=r"tokens.size: 60 is too small for this text: its characters alone need \d+"):
        train_tokenizer(PROVERBS, TokenOptions(size=60, byte_fallback=True))


@pytest.mark.parametrize("model_type", ["unigram", "bpe", "char"])
def test_words_without_tokens_are_counted_and_their_characters_named(tmp_path, model_type):
    write_tokenizer(tmp_path / "lang", PROVERBS, TokenOptions(type=model_type, size=40))
    tokenizer = Tokenizer(tmp_path / "lang")
    texts = {"u1": "THE EARLY BIRD", "u2": "the ÜBER BIRD", "u3": "ÜÜ\u3000MOSS"}
    found = tokenizer.unknown_in(texts.items())
    assert found.words == 8
    assert found.unknown == sum(1 in tokenizer.encode(word) for text in texts.values() for word in text.split())
    assert str(found) == (
        "3 of 8 words (37.5 %) become <unk>, for no token has the characters 'Ü' (3), 't' (1), 'h' (1), 'e' (1); "
        "the first is in utterance u2"
    )
    assert tokenizer.unknown_in([]).percent == 0.0
