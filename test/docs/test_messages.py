"""What docs/troubleshooting.md quotes is what the code says: each message, apart from what differs in it."""

from __future__ import annotations

import ast
import re

import pytest
from documents import ROOT, blocks, read

PAGE = read(ROOT / "docs/troubleshooting.md")
MESSAGES = [line for block in blocks(PAGE) if block.language == "text" for line in block.text.splitlines()]
VARIES = re.compile(r"\b[A-Z]+\b(?!-)")  # names of what differs stand in capitals
GAP = "\0"


def texts(source: str) -> list[str]:
    """All texts of a module, those that are put together with a gap for each value."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(re.sub(r"%[sdg.\d]+", GAP, node.value))
        elif isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else GAP for part in node.values)
            found.append("".join(map(str, parts)))
    return found


@pytest.fixture(scope="module")
def said() -> str:
    """All that dualtk and its recipes can say."""
    python = [text for path in ROOT.glob("dualtk/**/*.py") for text in texts(path.read_text(encoding="utf-8"))]
    shell = [path.read_text(encoding="utf-8") for path in [*ROOT.glob("egs/*/asr1/*.sh"), *ROOT.glob("utils/*.sh")]]
    return "\n".join([*python, *(re.sub(r"\$\w+", GAP, text) for text in shell)])


@pytest.mark.parametrize("message", MESSAGES)
def test_a_quoted_message_is_one_of_the_code(message: str, said: str) -> None:
    parts = [part.strip(" :;,'`") for part in VARIES.split(message)]
    words = [part for part in parts if len(part) > 6]
    assert words, "nothing is left to look for"
    assert not [part for part in words if part not in said]


def test_it_tells_messages_that_are_not_there(said: str) -> None:
    assert "the network has learnt everything" not in said
    assert len(MESSAGES) > 40
