"""The letters of tokens, as sentencepiece writes them."""

from __future__ import annotations

import re
from collections.abc import Sequence

WORD_START = "\u2581"  # stands before the first token of a word
BYTE = re.compile(r"<0x([0-9A-F]{2})>")


def spelled(tokens: Sequence[str]) -> str:
    """The letters of a word's tokens, in which `<0xC3>` is a byte of UTF-8; bytes that make no letter are replaced."""
    content = b"".join(
        bytes.fromhex(byte[1]) if (byte := BYTE.fullmatch(token)) else token.encode("utf-8") for token in tokens
    )
    return content.decode("utf-8", errors="replace").replace(WORD_START, "")
