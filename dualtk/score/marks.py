"""What sclite's marks in a transcript mean (its manual, "trn"), and the network of words that they describe.

`{ a / b c / @ }` are alternatives, which may hold others; `@` is no word at all; `(word)` may be left out, as for
`sclite -D`; an asterisk behind a word is dropped. Braces that do not match, or stand inside a word, are read as words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

NOTHING = "@"
DEEPEST = 50
WORD = re.compile(r"\s*(\S+)")
BRACE = re.compile("[{}]")
UNCLEAR = re.compile(r"[{};\\]")


def is_optional(word: str) -> bool:
    """Whether a word may be left out: `(word)`."""
    return word[:1] == "(" and word[-1:] == ")" and len(word) > 1


def spoken(word: str) -> str:
    """A word without the marks of one that may be left out."""
    return word[1:-1] if is_optional(word) else word


def cleaned(word: str) -> str:
    """A word without the asterisk behind it."""
    return word[:-1] if len(word) > 1 and word.endswith("*") else word


@dataclass
class Network:
    """Words and which may follow which.

    Attributes:
        words: in an order in which each comes behind all that may precede it; the first is empty, the start.
        before: of each word: the words that may precede it, in the order in which sclite looks at them.
        ends: the words that may be the last.
        cuts: words that every path has.
    """

    words: list[str] = field(default_factory=lambda: [""])
    before: list[tuple[int, ...]] = field(default_factory=lambda: [()])
    ends: tuple[int, ...] = (0,)
    cuts: list[int] = field(default_factory=lambda: [0])

    def add(self, text: str, before: tuple[int, ...], inside: bool) -> tuple[int, ...]:
        """Append the words of `text` behind any of the words `before`; returns those that may be its last."""
        for token in _tokens(text):
            alternatives = _alternatives(token)
            if alternatives:
                before = tuple(end for one in alternatives for end in self.add(one, before, True))
                continue
            self.words.append(cleaned(token))
            self.before.append(before)
            before = (len(self.words) - 1,)
            if not inside:
                self.cuts.append(before[0])
        return before


def has_marks(text: str) -> bool:
    """Whether a transcript holds marks that are read."""
    return any(
        word == NOTHING or is_optional(word) or word != cleaned(word) or bool(_alternatives(word))
        for word in _tokens(text)
    )


def is_unclear(text: str) -> bool:
    """Whether a transcript holds what counts as a word here, and which sclite takes for a mark or a tag."""
    return any(UNCLEAR.search(word) and not _alternatives(word) for word in _tokens(text))


def network(words: Sequence[str]) -> Network:
    """The network that the words of a transcript, with marks or without, describe."""
    found = Network()
    found.ends = found.add(" ".join(words), (0,), False)
    return found


def _tokens(text: str) -> Iterator[str]:
    """Words, and whole groups of alternatives with their braces."""
    place = 0
    while found := WORD.match(text, place):
        place = _group_end(text, found.start(1)) or found.end()
        yield text[found.start(1) : place]


def _group_end(text: str, start: int) -> int:
    """Where the group of alternatives that begins at `start` ends; 0 where none does."""
    if text[start] != "{":
        return 0
    depth = 0
    for brace in BRACE.finditer(text, start):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return brace.end() if _alternatives(text[start : brace.end()]) else 0
        if depth > DEEPEST:
            return 0
    return 0


def _alternatives(token: str) -> list[str]:
    """The alternatives of a group that are not empty; none where the token is a word."""
    if token[0] != "{" or token[-1] != "}":
        return []
    groups, depth = [""], 0
    for letter in token[1:-1]:
        depth += (letter == "{") - (letter == "}")
        if letter == "/" and depth == 0:
            groups.append("")
        else:
            groups[-1] += letter
    return [group for group in groups if group.strip()]
