"""Who speaks: the voices of each set, and how one speaker differs from another and from one sentence to the next."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from espeak import Voice

ACCENTS = ("en", "en-029", "en-GB-scotland", "en-GB-x-gbclan", "en-GB-x-gbcwmd", "en-GB-x-rp", "en-US", "en-US-nyc")

# Variants are the voices proper (formants, source, pitch). Relatives (steph and steph2, Mario and Michael) stay in
# one set, so that a voice of dev or test is new in every accent; whispers, robots and toys are left out.
VARIANTS = {
    "train": (
        *("f1", "f3", "f5", "m1", "m2", "m4", "m5", "m6", "m8", "Alex", "Andrea", "Annie", "Diogo", "Gene", "Gene2"),
        *("Henrique", "Hugo", "Marco", "adam", "anika", "boris", "david", "ed", "edward", "edward2", "grandma"),
        *("grandpa", "iven", "iven2", "john", "klatt", "klatt2", "klatt3", "marcelo", "michel", "miguel", "mike2"),
        *("norbert", "pedro", "rob", "robert", "sandro", "steph", "steph2", "steph3", "travis", "victor", "zac"),
    ),
    "dev": ("f2", "m7", "Denis", "Alicia", "Jacky", "antonio"),
    "test": ("f4", "m3", "Andy", "Mario", "Michael", "benjamin", "linda", "max", "pablo", "paul"),
}


@dataclass(frozen=True)
class Speaker:
    """A LibriSpeech-style speaker number and the voice at its habitual rate and pitch."""

    number: int
    voice: Voice


def speakers(role: str, count: int, first_number: int, rate_scale: float, generator: random.Random) -> list[Speaker]:
    """At most `count` speakers for the set `role`, each another pair of accent and variant."""
    pairs = [(accent, variant) for variant in VARIANTS[role] for accent in ACCENTS]
    generator.shuffle(pairs)
    return [
        Speaker(
            first_number + index,
            Voice(
                accent,
                variant,
                rate=round(generator.uniform(140, 190) * rate_scale),
                pitch=generator.randint(30, 70),
                pitch_range=generator.randint(30, 70),
            ),
        )
        for index, (accent, variant) in enumerate(pairs[:count])
    ]


def mood(voice: Voice, generator: random.Random) -> Voice:
    """The same voice in another sentence: rate within 10 %, pitch within 10 points and range within 20 of the habit."""
    return replace(
        voice,
        rate=round(voice.rate * generator.uniform(0.9, 1.1)),
        pitch=voice.pitch + generator.randint(-10, 10),
        pitch_range=voice.pitch_range + generator.randint(-20, 20),
    )
