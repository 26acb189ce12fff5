"""Tokens by sentencepiece (Kudo and Richardson, 2018): the only file that imports it."""

from __future__ import annotations

import io
import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import sentencepiece
from pydantic import PositiveInt

from dualtk.errors import InputError
from dualtk.files import Done, FolderKind, atomic_folder, digest, require_replaceable
from dualtk.options import Section, Unit

logger = logging.getLogger("dualtk")

TokenType = Literal["unigram", "bpe", "char"]
BLANK = "<blk>"
UNKNOWN = "<unk>"
UNKNOWN_ID = 1
MOST_LETTERS = 8  # that are named
DONE = ".bpe.done"
MODEL = "bpe.model"
FOLDER = FolderKind("folder of tokens", MODEL, frozenset({MODEL, "bpe.vocab", "tokens.txt", DONE}))


class TokenOptions(Section):
    """Into what tokens transcripts are cut."""

    type: TokenType = "unigram"
    """Algorithm of sentencepiece: a unigram language model, byte-pair encoding, or characters."""
    size: Annotated[PositiveInt, Unit("tokens")] = 500
    """Number of tokens, `<blk>` and `<unk>` included; fewer where the text does not allow so many."""
    byte_fallback: bool = False
    """Whether 256 of the tokens are bytes, of which characters that the text lacks are made."""

    @property
    def label(self) -> str:
        """A name for a folder of such tokens, such as `unigram500`."""
        return f"{self.type}{self.size}{'-bytes' if self.byte_fallback else ''}"


@dataclass
class UnknownWords:
    """Words of some texts, those with a character that no token has, which these are, and the first utterance."""

    words: int = 0
    unknown: int = 0
    letters: Counter[str] = field(default_factory=Counter)
    first: str = ""
    has_unknown: bool = False

    @property
    def percent(self) -> float:
        """The share of such words."""
        return 100.0 * self.unknown / max(1, self.words)

    def __str__(self) -> str:
        letters = ", ".join(f"{letter!r} ({count})" for letter, count in self.letters.most_common(MOST_LETTERS))
        more = ", ..." if len(self.letters) > MOST_LETTERS else ""
        return (
            f"{self.unknown} of {self.words} words ({self.percent:.1f} %) become {UNKNOWN}, for no token has the "
            f"characters {letters}{more}; the first is in utterance {self.first}"
        )


def require_known(where: object, found: UnknownWords, most: float) -> None:
    """Say which words of a text become `<unk>`.

    Raises:
        InputError: they are more than `most` percent.
    """
    if found.percent > most:
        raise InputError(f"{where}: {found}: what helps is tokens of this text, tokens.byte_fallback or --max-unknown")
    if found.unknown:
        logger.warning("%s: %s", where, found)


class Tokenizer:
    """Text to token ids and back; `<blk>` is 0, `<unk>` is 1, and no text encodes to 0.

    Args:
        path: a bpe.model, or the directory that holds one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path / MODEL if path.is_dir() else path
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(self.path.read_bytes())
            self.pieces: list[str] = [self._processor.IdToPiece(i) for i in range(self._processor.GetPieceSize())]
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read: {error.strerror}") from error
        except RuntimeError as error:
            raise InputError(f"{self.path}: is no sentencepiece model") from error
        if self.pieces[:2] != [BLANK, UNKNOWN]:
            raise InputError(f"{self.path}: its first tokens are {self.pieces[:2]}, expected {[BLANK, UNKNOWN]}")

    @property
    def vocab_size(self) -> int:
        """Number of ids, blank included."""
        return len(self.pieces)

    def encode(self, text: str) -> list[int]:
        """Ids 1..V-1 of a line of text."""
        ids: list[int] = self._processor.EncodeAsIds(text)
        return ids

    def unknown_in(self, texts: Iterable[tuple[str, str]]) -> UnknownWords:
        """What of the words of `texts`, each with the name of its utterance, no token stands for."""
        found = UnknownWords()
        known: dict[str, bool] = {}
        for name, text in texts:
            words = text.split()
            found.words += len(words)
            for letter in set(text).difference(known):
                known[letter] = letter.isspace() or UNKNOWN_ID not in self.encode(letter)
                found.has_unknown |= not known[letter]
            if not found.has_unknown:
                continue
            at_fault = [word for word in words if not all(map(known.__getitem__, word))]
            found.unknown += len(at_fault)
            found.first = found.first or (name if at_fault else "")
            found.letters.update(letter for word in at_fault for letter in word if not known[letter])
        return found

    def decode(self, ids: Sequence[int]) -> str:
        """Words of a sequence of ids; an unknown token reads `<unk>`."""
        text: str = self._processor.DecodeIds(list(ids))
        return text


def train_tokenizer(sentences: Sequence[str], options: TokenOptions) -> bytes:
    """Train a sentencepiece model and return it serialised; the same text gives the same bytes.

    Where the text does not allow so many tokens, the model has as many as it allows.

    Raises:
        InputError: no text, or more characters than tokens.
    """
    if not any(sentence.strip() for sentence in sentences):
        raise InputError("no text to train tokens on")
    size = options.size
    while True:
        try:
            return _train(sentences, options, size)
        except (RuntimeError, UnicodeError) as error:
            limit = re.search(r"value <= (\d+)", str(error))
            if limit is None or int(limit[1]) >= size:
                raise InputError(_explain(str(error), options)) from error
            size = int(limit[1])


def _train(sentences: Sequence[str], options: TokenOptions, size: int) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(sentences),
        model_writer=model,
        model_type=options.type,
        vocab_size=size,
        byte_fallback=options.byte_fallback,
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
    return model.getvalue()


def _explain(message: str, options: TokenOptions) -> str:
    """Sentencepiece's message, with the limit that it computed from the text."""
    if limit := re.search(r"required_chars\. \d+ vs (\d+)", message):
        return f"tokens.size: {options.size} is too small for this text: its characters alone need {limit[1]}"
    return f"sentencepiece cannot train on this text: {' '.join(message.split())}"


def write_tokenizer(directory: Path, sentences: Sequence[str], options: TokenOptions) -> bool:
    """Train and write bpe.model, bpe.vocab and tokens.txt (`token id`, `<blk> 0` first), all or nothing.

    Returns:
        False if the directory was there already, made from the same text and options.

    Raises:
        InputError: what `train_tokenizer` refuses, or a directory that holds anything else.
    """
    key = digest([], [list(sentences), options.model_dump()])
    if Done(directory / DONE).matches(key):
        return False
    require_replaceable(directory, FOLDER)
    model = train_tokenizer(sentences, options)
    processor = sentencepiece.SentencePieceProcessor()
    processor.LoadFromSerializedProto(model)
    pieces = [(processor.IdToPiece(index), processor.GetScore(index)) for index in range(processor.GetPieceSize())]
    with atomic_folder(directory, FOLDER) as temporary:
        temporary.mkdir()
        (temporary / MODEL).write_bytes(model)
        vocabulary = "".join(f"{piece}\t{score:g}\n" for piece, score in pieces)
        (temporary / "bpe.vocab").write_text(vocabulary, encoding="utf-8")
        tokens = "".join(f"{piece} {index}\n" for index, (piece, _) in enumerate(pieces))
        (temporary / "tokens.txt").write_text(tokens, encoding="utf-8")
        (temporary / DONE).write_text(key + "\n", encoding="utf-8")
    return True
