"""What a set's hypotheses say of their network: whether it listens at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from dualtk.score.wer import ScoredUtterance, total

FEWEST = 10  # utterances of which something is said
SAME = 0.3  # more often than the references, one text has this share of the hypotheses
WRONG = 0.9  # of the reference words
LONGEST = 40  # letters of a text that are quoted


def warnings(scored: Sequence[ScoredUtterance]) -> list[str]:
    """Why the figures of this set mean little, a line each: one text for all, or hardly a word that is right.

    Latency is the time of words that were recognised: where this says anything, it has none to speak of.
    """
    if len(scored) < FEWEST:
        return []
    lines = []
    refs, hyps = (Counter(_text(one, side) for one in scored) for side in ("ref", "hyp"))
    (text, count), size = hyps.most_common(1)[0], len(scored)
    if count / size - refs[text] / size > SAME:
        said = f"`{text if len(text) <= LONGEST else text[:LONGEST] + '...'}`" if text else "nothing"
        lines.append(f"says {said} for {100 * count / size:.0f} % of the utterances, which {_share(refs[text], size)}")
    counts = total(one.words for one in scored)
    missed = (counts.substitutions + counts.deletions) / max(1, counts.reference)
    if missed > WRONG:
        lines.append(f"{100 * missed:.0f} % of the words are wrong or missing")
    if lines:
        lines.append("the network has not learnt which frames belong to which labels: see `not aligned` in train.log")
    return lines


def _text(one: ScoredUtterance, side: str) -> str:
    words = (getattr(pair, side) for pair in one.pairs)
    return " ".join(word for word in words if word is not None)


def _share(count: int, size: int) -> str:
    return f"is right for {100 * count / size:.0f} %" if count else "is right for none"
