"""Packages that are not needed for everything: whether they load here, and what to install where they do not."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from dualtk.errors import InputError


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Packages of the extra `name` of setup.py are imported inside.

    Raises:
        InputError: one of them is not there, or does not load; says what to install.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise InputError(f"{error.name} is not installed: pip install 'dualtk[{name}]'") from error
    except (ImportError, OSError) as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"a package of 'dualtk[{name}]' is installed but does not import: {line}") from error


@cache
def import_problem(package: str, needed: str) -> str | None:
    """Return why `package` cannot be used, or None if it imports and has the attribute `needed`."""
    try:
        if importlib.util.find_spec(package) is None:
            return f"{package} is not installed"
        module = importlib.import_module(package)
    except ModuleNotFoundError as error:
        return f"{error.name} is not installed"
    except (ImportError, OSError, RuntimeError) as error:  # such as a build for another torch
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return f"{package} is installed but does not import: {line}"
    return None if hasattr(module, needed) else f"{package} is installed but has no {needed}"
