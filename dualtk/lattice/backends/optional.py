"""Whether an optional package really imports here, and if not, why."""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache


@cache
def import_problem(package: str, needed: str) -> str | None:
    """Return why `package` cannot be used, or None if it imports and has the attribute `needed`."""
    if importlib.util.find_spec(package) is None:
        return f"{package} is not installed"
    try:
        module = importlib.import_module(package)
    except (ImportError, OSError, RuntimeError) as error:  # such as a build for another torch
        return f"{package} is installed but does not import: {str(error).strip().splitlines()[0]}"
    return None if hasattr(module, needed) else f"{package} is installed but has no {needed}"
