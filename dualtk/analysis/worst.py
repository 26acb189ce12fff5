"""The utterances that went worst: their words aligned with every system's, and their audio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from dualtk.score.align import Pair
from dualtk.score.wer import ScoredUtterance

Systems = Mapping[str, Mapping[str, ScoredUtterance]]  # by system, then by utterance


@dataclass(frozen=True)
class Sound:
    """The encoded audio of an utterance as a `data:` address."""

    address: str


def worst_utterances(systems: Systems, longest: int) -> list[str]:
    """Utterances with the most word errors, over all systems together; those without errors are left out."""
    errors: dict[str, int] = {}
    for utterances in systems.values():
        for name, scored in utterances.items():
            errors[name] = errors.get(name, 0) + scored.words.errors
    ranked = sorted((name for name in errors if errors[name]), key=lambda name: (-errors[name], name))
    return ranked[:longest]


def marked(pairs: Sequence[Pair]) -> str:
    """An alignment as HTML: words that were lost struck out, words that were put in after a plus."""
    words = []
    for pair in pairs:
        if pair.kind == "C":
            words.append(escape(pair.ref or pair.hyp or ""))
            continue
        lost = f"<del>{escape(pair.ref)}</del>" if pair.ref else ""
        put = f"<ins>{escape(pair.hyp)}</ins>" if pair.hyp else ""
        words.append(f"{lost} {put}".strip())
    return " ".join(words)


def utterance_block(name: str, systems: Systems, sound: Sound | None) -> str:
    """One utterance: the reference, each system's words, and a player."""
    scored = {system: utterances[name] for system, utterances in systems.items() if name in utterances}
    reference = " ".join(pair.ref for pair in next(iter(scored.values())).pairs if pair.ref is not None)
    lines = [f"<dt>reference</dt><dd>{escape(reference)}</dd>"]
    for system, each in scored.items():
        counts = each.words
        title = f"{system} ({counts.errors} of {counts.reference})"
        lines.append(f"<dt>{escape(title)}</dt><dd>{marked(each.pairs)}</dd>")
    player = f'<audio controls preload="none" src="{sound.address}"></audio>' if sound else ""
    return f'<div class="utterance"><h4>{escape(name)}</h4>{player}<dl>{"".join(lines)}</dl></div>\n'
