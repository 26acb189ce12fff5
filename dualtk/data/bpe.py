"""Wordpieces by sentencepiece (Kudo and Richardson, 2018): the only file that imports it."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path

import sentencepiece

from dualtk.errors import InputError
from dualtk.files import Done, atomic_path, digest

BLANK = "<blk>"
UNKNOWN = "<unk>"
MODEL_TYPES = ("unigram", "bpe")


class Wordpieces:
    """Text to wordpiece ids and back; `<blk>` is 0, `<unk>` is 1, and no text encodes to 0.

    Args:
        path: a bpe.model, or the directory that holds one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path / "bpe.model" if path.is_dir() else path
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(self.path.read_bytes())
            self.pieces: list[str] = [self._processor.IdToPiece(i) for i in range(self._processor.GetPieceSize())]
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read: {error.strerror}") from error
        except RuntimeError as error:
            raise InputError(f"{self.path}: is no sentencepiece model") from error
        if self.pieces[:2] != [BLANK, UNKNOWN]:
            raise InputError(f"{self.path}: its first pieces are {self.pieces[:2]}, expected {[BLANK, UNKNOWN]}")

    @property
    def vocab_size(self) -> int:
        """Number of ids, blank included."""
        return len(self.pieces)

    def encode(self, text: str) -> list[int]:
        """Ids 1..V-1 of a line of text."""
        ids: list[int] = self._processor.EncodeAsIds(text)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Words of a sequence of ids; an unknown piece reads `<unk>`."""
        text: str = self._processor.DecodeIds(list(ids))
        return text


def train_wordpieces(sentences: Sequence[str], vocab_size: int, model_type: str = "unigram") -> bytes:
    """Train a sentencepiece model and return it serialised; the same text gives the same bytes.

    Raises:
        InputError: an unknown type, no text, or a size that the text does not allow; the line states the limit.
    """
    if model_type not in MODEL_TYPES:
        raise InputError(f"wordpiece type {model_type}: expected one of {', '.join(MODEL_TYPES)}")
    if not any(sentence.strip() for sentence in sentences):
        raise InputError("no text to train wordpieces on")
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=iter(sentences),
            model_writer=model,
            model_type=model_type,
            vocab_size=vocab_size,
            pad_id=0,
            pad_piece=BLANK,
            unk_id=1,
            unk_piece=UNKNOWN,
            unk_surface=UNKNOWN,
            bos_id=-1,
            eos_id=-1,
            character_coverage=1.0,
            normalization_rule_name="identity",
            max_sentence_length=1 << 20,  # bytes; the default would silently skip long lines
            num_threads=1,  # sums of several threads would depend on their timing
            minloglevel=2,
        )
    except RuntimeError as error:
        raise InputError(_explain(str(error), vocab_size, model_type)) from error
    return model.getvalue()


def _explain(message: str, vocab_size: int, model_type: str) -> str:
    """Sentencepiece's message on a size that does not fit, with the limit that it computed from the text."""
    if limit := re.search(r"value <= (\d+)", message):
        return f"vocabulary size {vocab_size} is too large for this text: at most {limit[1]} for type {model_type}"
    if limit := re.search(r"required_chars\. \d+ vs (\d+)", message):
        return f"vocabulary size {vocab_size} is too small for this text: its characters alone need {limit[1]}"
    return f"sentencepiece cannot train on this text: {' '.join(message.split())}"


def write_language(directory: Path, sentences: Sequence[str], vocab_size: int, model_type: str = "unigram") -> bool:
    """Train and write bpe.model, bpe.vocab and tokens.txt (`piece id`, `<blk> 0` first), all or nothing.

    Returns:
        False if the directory was there already, made from the same text and options.
    """
    key = digest([], [list(sentences), vocab_size, model_type])
    if Done(directory / ".bpe.done").matches(key):
        return False
    model = train_wordpieces(sentences, vocab_size, model_type)
    processor = sentencepiece.SentencePieceProcessor()
    processor.LoadFromSerializedProto(model)
    pieces = [(processor.IdToPiece(index), processor.GetScore(index)) for index in range(processor.GetPieceSize())]
    with atomic_path(directory) as temporary:
        temporary.mkdir()
        (temporary / "bpe.model").write_bytes(model)
        vocabulary = "".join(f"{piece}\t{score:g}\n" for piece, score in pieces)
        (temporary / "bpe.vocab").write_text(vocabulary, encoding="utf-8")
        tokens = "".join(f"{piece} {index}\n" for index, (piece, _) in enumerate(pieces))
        (temporary / "tokens.txt").write_text(tokens, encoding="utf-8")
        (temporary / ".bpe.done").write_text(key + "\n", encoding="utf-8")
    return True
