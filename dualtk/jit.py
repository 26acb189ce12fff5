"""How kernels are compiled: without the interpreter's lock, cached on disk, and without a cache where none can be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

# Multiply and add may fuse; NaN, infinity and the order of operations keep their meaning.
FUSED = {"nsz", "contract", "arcp"}
# Sums may be reordered as well, without which a reduction does not vectorise.
REORDERED = FUSED | {"reassoc"}
LOG2_E = 1.4426950408889634  # of the exponentials that kernels write out


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` at its first call.

    No kernel starts threads of its own (numba's threading layers are not all safe to enter from two Python threads,
    nor after a fork); `threads.map_ranges` runs one kernel on several ranges instead.
    """
    return _compile(function, FUSED)


def summing_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Like `kernel`, for a function that is one long sum."""
    return _compile(function, REORDERED)


def _compile(function: Callable[..., Any], fastmath: set[str]) -> Callable[..., Any]:
    options = {"nogil": True, "fastmath": fastmath, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # no folder can be written: neither beside the package nor in the home directory
        return numba.njit(cache=False, **options)(function)  # type: ignore[no-any-return]
