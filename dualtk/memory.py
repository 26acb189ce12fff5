"""What does not fit into memory is said in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from dualtk.errors import InputError

SIGNS = ("allocate memory", "out of memory", "bad_alloc", "could not create a memory", "allocation failed")


@contextmanager
def enough_memory(what: str, remedy: str) -> Iterator[None]:
    """Turn whatever torch, numpy and numba raise when memory ends into "`what` into memory: `remedy`".

    Args:
        what: such as "dev: utterance u1 (120000 frames) does not fit".
        remedy: what the user can do.

    Raises:
        InputError: instead of theirs.
    """
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise InputError(f"{what} into memory: {remedy}") from error
    except RuntimeError as error:
        if not any(sign in str(error).lower() for sign in SIGNS):
            raise
        raise InputError(f"{what} into memory: {remedy}") from error
