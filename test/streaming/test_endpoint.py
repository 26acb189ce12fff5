"""When an utterance is over, by each rule alone."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from dualtk.streaming.endpoint import EndpointOptions, Trailing

RULES = EndpointOptions(
    rule1_min_trailing_silence=2.0, rule2_min_trailing_silence=1.0, rule3_min_utterance_length=10.0, min_pause=0.4
)


@pytest.mark.parametrize(
    ("length", "blank", "quiet", "has_labels", "is_paused", "is_over"),
    [
        (1.9, 1.9, 0.0, False, False, False),
        (2.0, 2.0, 0.0, False, False, True),
        (3.0, 0.9, 0.0, True, False, False),
        (3.0, 1.0, 0.0, True, False, True),
        (9.9, 0.1, 0.0, True, False, False),
        (10.0, 0.1, 0.0, True, False, True),
        (3.0, 0.1, 0.39, True, False, False),
        (3.0, 0.1, 0.4, False, True, False),
    ],
)
def test_each_rule(length, blank, quiet, has_labels, is_paused, is_over) -> None:
    now = Trailing(length, blank, quiet, has_labels)
    assert (RULES.is_paused(now), RULES.is_over(now)) == (is_paused, is_over)


def test_rules_that_would_cut_words_are_refused() -> None:
    with pytest.raises(ValidationError, match="min_pause"):
        EndpointOptions(min_pause=0.0)
    with pytest.raises(ValidationError, match="rule3"):
        EndpointOptions(rule3_min_utterance_length=0.1)
