"""oneDNN, switched off where it costs more than it gives."""

from __future__ import annotations

import threading
from typing import Any

import torch


class _WithoutOneDNN:
    """Switches oneDNN off for the whole process while any thread is inside."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before = True

    def __enter__(self) -> None:
        onednn: Any = torch.backends.mkldnn  # its own context manager warns of settings that are not touched here
        with self._lock:
            if self._inside == 0:
                self._before, onednn.enabled = onednn.enabled, False
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        onednn: Any = torch.backends.mkldnn
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                onednn.enabled = self._before


without_onednn = _WithoutOneDNN()
"""For one label at a time: oneDNN packs an LSTM's weights anew in every call, which takes several times as long as the
label."""
