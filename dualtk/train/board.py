"""Curves for tensorboard, where it is installed: the only file that imports it. metrics.jsonl has the same numbers."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from dualtk.errors import InputError
from dualtk.extras import extra

logger = logging.getLogger("dualtk")


def _report_thread(arguments: threading.ExceptHookArgs) -> None:
    """Tensorboard's thread keeps an OSError for the next call, which says it; its traceback would be a second time."""
    if not isinstance(arguments.exc_value, OSError):
        threading.__excepthook__(arguments)


class Board:
    """Scalars of a run; without tensorboard they are dropped, which is said once.

    Args:
        folder: that tensorboard's files are written to.

    Raises:
        OSError: it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._writer: Any = None
        try:
            with extra("tensorboard"):
                from torch.utils.tensorboard import SummaryWriter
        except InputError as error:
            logger.info("no curves for tensorboard: %s", error)
            return
        threading.excepthook = _report_thread
        self._writer = SummaryWriter(str(folder))

    def add(self, name: str, value: float, step: int) -> None:
        """One value of a curve."""
        if self._writer is not None:
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is left, if there is room for it."""
        if self._writer is not None:
            with suppress(OSError):
                self._writer.close()
