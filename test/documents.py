"""The pages of docs/ as a program reads them: their blocks of code, and which of these a test runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
RUN = "<!-- run -->"  # stands before a block that a test runs; a reader does not see it
SHELL = ("", "sh")
BLOCK = re.compile(
    rf"(?P<run>^{RUN}\n\n)?"
    r"(?:^```(?P<language>\w*)\n(?P<fenced>(?:.*\n)*?)```$|(?<=\n\n)(?P<indented>(?: {4}.*\n)(?:\n* {4}.*\n)*))",
    re.M,
)


@dataclass(frozen=True)
class Block:
    """Code of a page, without its indentation.

    Attributes:
        language: of a fenced block; empty where it is indented, which is for commands.
        text: with the last line ended.
        runs: whether it says that a test runs it.
    """

    language: str
    text: str
    runs: bool

    @property
    def is_shell(self) -> bool:
        """Whether it holds commands."""
        return self.language in SHELL


def blocks(text: str) -> Iterator[Block]:
    """The blocks of a page in their order."""
    for found in BLOCK.finditer(text):
        indented = found["indented"]
        code = found["fenced"] if indented is None else re.sub(r"^ {4}", "", indented, flags=re.M)
        yield Block(found["language"] or "", code, found["run"] is not None)


def read(page: Path) -> str:
    """The text of a page."""
    return page.read_text(encoding="utf-8")


def prose(text: str) -> str:
    """A page without its blocks of code."""
    return BLOCK.sub("", text)
