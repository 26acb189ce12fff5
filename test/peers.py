"""Other packages that compute the same as we do, where they load: a test that uses one that does not is skipped."""

from __future__ import annotations

import importlib
from typing import Any

import pytest


class Absent:
    """Stands for a package that does not load; whoever reads a name of it, is skipped with the reason."""

    def __init__(self, package: str, reason: str) -> None:
        self._package, self._reason = package, reason

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)  # pytest looks for such names in all that a test file holds
        pytest.skip(f"{self._package} does not load: {self._reason}")


def peer(package: str) -> Any:
    """The package, or what skips tests in its place: a build for another torch raises OSError, not ImportError."""
    try:
        return importlib.import_module(package)
    except (ImportError, OSError, RuntimeError) as error:
        return Absent(package, (str(error).splitlines() or [""])[0])


torchaudio = peer("torchaudio")
