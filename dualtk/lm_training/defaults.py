"""What `dualtk train-lm` does where no option says otherwise."""

from __future__ import annotations

NGRAM = "ngram"
ORDER, LEAST = 6, [1, 1, 2]
EVERY = 20  # of the sentences is held out, where no others are given
