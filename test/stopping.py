"""A run that stops in the middle, at the same place each time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from dualtk.train.loop import Trainer


@contextmanager
def stopped_after(step: int) -> Iterator[None]:
    """Interrupt whatever trains here when it has saved the state of `step`; the run must get there."""
    save = Trainer.save

    def save_and_stop(self: Trainer) -> None:
        save(self)
        if self.progress.step == step:
            raise KeyboardInterrupt

    stopped = False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "save", save_and_stop)
        try:
            yield
        except KeyboardInterrupt:
            stopped = True
    assert stopped, f"nothing was saved at step {step}"
