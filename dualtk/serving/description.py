"""What a server says of its network."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from dualtk.recognizer import TWO_PASS, Recognizer

CARD = "README.md"


@dataclass(frozen=True)
class Description:
    """Of a network.

    Attributes:
        name: of its folder.
        modes: that clients may ask for.
        live_mode: of live streams that ask for none.
        file_mode: of files for which none is asked.
        language: code of ISO 639, or empty where it is not known.
        card: its model card, without front matter, or empty.
        parameters: how many weights.
    """

    name: str
    modes: list[str]
    live_mode: str
    file_mode: str
    language: str
    card: str
    parameters: int


def describe(recognizer: Recognizer, language: str | None) -> Description:
    """The network of a recogniser; `language` where it is not that of the model card."""
    trained = recognizer.trained
    modes = list(trained.system.modes)
    both = {"streaming", "full"} <= set(modes)
    path = trained.folder / CARD
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    front, card = _split(text)
    found = re.search(r"^language: *([A-Za-z-]+) *$", front, re.MULTILINE)
    return Description(
        name=Path(trained.folder).resolve().name,
        modes=[*modes, TWO_PASS] if both else modes,
        live_mode="streaming" if "streaming" in modes else modes[0],
        file_mode="full" if "full" in modes else modes[0],
        language=language or (found.group(1) if found else ""),
        card=card,
        parameters=trained.network.num_parameters(),
    )


def _split(text: str) -> tuple[str, str]:
    """Front matter and the rest of a model card."""
    if not text.startswith("---\n"):
        return "", text
    front, _, rest = text[4:].partition("\n---\n")
    return front, rest.lstrip()
