"""The trn files that sclite reads: one line an utterance, `words (speaker-utterance)`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dualtk.errors import InputError


def trn_id(utterance: str, speaker: str) -> str:
    """The id by which sclite can tell the speaker: `utterance` itself where it begins with the speaker, else both.

    Raises:
        InputError: a parenthesis in the id, which would end the id early.
    """
    identity = utterance if utterance.startswith(f"{speaker}-") else f"{speaker}-{utterance}"
    if "(" in identity or ")" in identity:
        raise InputError(f"utterance {utterance}: an id with a parenthesis cannot be written as trn")
    return identity


def speaker_of(identity: str) -> str:
    """What sclite takes for the speaker (`-i rm`): all before the first hyphen."""
    return identity.split("-", 1)[0]


def trn_text(texts: Mapping[str, str], speakers: Mapping[str, str], utterances: Iterable[str]) -> str:
    """The content of a trn file; an utterance absent from `texts` has no words."""
    lines = []
    for utterance in utterances:
        identity = f"({trn_id(utterance, speakers[utterance])})"
        lines.append(" ".join([*texts.get(utterance, "").split(), identity]) + "\n")
    return "".join(lines)
