"""From encoder frames to hypotheses: greedy and beam search, language models."""
