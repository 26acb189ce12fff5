"""What `dualtk analyse` can be asked for: the names of its figures, and an experiment in one of its modes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

OF_NETWORKS = ("emission", "alignment", "entropy", "similar", "distances", "tsne", "attention")
FROM_METRICS = ("training", "teacher-error")
CHOICES = (*OF_NETWORKS, *FROM_METRICS)


@dataclass(frozen=True)
class Experiment:
    """What is looked at: a folder, and the mode that was written behind it, if one was."""

    folder: Path
    mode: str | None = None

    @staticmethod
    def parse(text: str) -> Experiment:
        """`EXP` or `EXP:MODE`; a folder whose own name has the colon comes first."""
        folder, colon, mode = text.rpartition(":")
        if not colon or Path(text).is_dir():
            return Experiment(Path(text))
        return Experiment(Path(folder), mode)
