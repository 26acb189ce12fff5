"""The trn files that sclite reads: one line an utterance, `words (speaker-utterance)`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dualtk.errors import InputError


def trn_id(utterance: str, speaker: str) -> str:
    """The id by which sclite can tell the speaker: all before the first hyphen, those of its name become underscores.

    Raises:
        InputError: a parenthesis in the id, which would end the id early, or a space.
    """
    identity = f"{speaker.replace('-', '_')}-{utterance.removeprefix(f'{speaker}-')}"
    for fault, letters in (("a parenthesis", "()"), ("a space", " \t")):
        if any(letter in identity for letter in letters):
            raise InputError(f"utterance {utterance}: an id with {fault} cannot be written as trn")
    return identity


def speaker_of(identity: str) -> str:
    """What sclite takes for the speaker (`-i rm`): all before the first hyphen."""
    return identity.split("-", 1)[0]


def trn_text(texts: Mapping[str, str], speakers: Mapping[str, str], utterances: Iterable[str]) -> str:
    """The content of a trn file; an utterance absent from `texts` has no words."""
    lines = {}
    for utterance in utterances:
        identity = f"({trn_id(utterance, speakers[utterance])})"
        if identity in lines:
            raise InputError(f"utterance {utterance}: another has the same id {identity} as trn")
        lines[identity] = " ".join([*texts.get(utterance, "").split(), identity]) + "\n"
    return "".join(lines.values())


def shared_rows(speakers: Iterable[str]) -> list[list[str]]:
    """Speakers that are one for sclite, which reads ids in lower case, and of which hyphens become underscores."""
    rows: dict[str, list[str]] = {}
    for speaker in dict.fromkeys(speakers):
        rows.setdefault(speaker.replace("-", "_").lower(), []).append(speaker)
    return [row for row in rows.values() if len(row) > 1]
