"""A codebook of which hardly any entry is left in use is useless as a target; it is said, not found out later."""

from __future__ import annotations


class CollapseWatch:
    """Is told the least perplexity of any group and mode at each validation, and warns of a collapse.

    Collapsed means that a group has fewer than two entries in use, or than a thirty-second of what it has. Said once,
    and again only after a recovery.

    Args:
        entries: V, the entries of a group.
        patience: validations in a row below the bound before it is said.
    """

    def __init__(self, entries: int, patience: int = 3) -> None:
        self.bound = max(2.0, entries / 32)
        self.patience = patience
        self.below = 0

    def watch(self, perplexity: float, step: int) -> list[str]:
        """The warning that validation at `step` gives rise to, if it does."""
        self.below = self.below + 1 if perplexity < self.bound else 0
        if self.below != self.patience:
            return []
        return [
            f"step {step}: the codebook has collapsed: a group's perplexity is {perplexity:.2f}, below {self.bound:g} "
            f"for {self.below} validations in a row; a larger diversity weight or a slower fall of the temperature may "
            "help"
        ]
