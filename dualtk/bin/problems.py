"""What an exception that is no `InputError` says to a user: one line, and whether a library or dualtk is at fault."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dualtk.errors import InputError

DEBUG = "DUALTK_DEBUG"
HERE = Path(__file__).resolve().parent.parent
NO_MEMORY = ("allocate memory", "out of memory", "bad_alloc", "memory allocation", "unable to allocate")
LONGEST = 300  # letters of a library's message


@dataclass(frozen=True)
class Problem:
    """What went wrong; `is_ours` where no library raised it."""

    line: str
    is_ours: bool = False


def problem(error: BaseException) -> Problem:
    """What to say of an exception that reached the command's edge."""
    if isinstance(error, OSError):
        return Problem(_of_system(error))
    if isinstance(error, UnicodeDecodeError):
        return Problem(f"text that is not {error.encoding.upper()}: {error.reason} at byte {error.start}")
    if isinstance(error, UnicodeEncodeError):
        shown = error.object[error.start : error.start + 1]
        return Problem(f"{shown!r} cannot be written as {error.encoding.upper()}: a name or text that is not UTF-8")
    if isinstance(error, MemoryError) or any(sign in str(error).lower() for sign in NO_MEMORY):
        return Problem("not enough memory: free some, or give less at once (shorter audio, smaller batches)")
    if isinstance(error, RecursionError):
        return Problem("the input is nested too deep")
    said = " ".join(str(error).split())
    said = said if len(said) <= LONGEST else f"{said[:LONGEST]} ..."
    line = f"{type(error).__name__}: {said}" if said else type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1] if frames else None
    if last is None or not Path(last.filename).resolve().is_relative_to(HERE):
        return Problem(f"{line} ({DEBUG}=1 shows where)")
    return Problem(f"a fault of dualtk itself: {line}; {DEBUG}=1 shows where, for a report", is_ours=True)


@contextmanager
def about(subject: str) -> Iterator[None]:
    """What libraries raise inside is said of `subject`, a file or an utterance.

    Raises:
        InputError: instead of theirs.
    """
    try:
        yield
    except (InputError, BrokenPipeError):
        raise
    except Exception as error:
        found = problem(error)
        if found.is_ours:
            raise
        raise InputError(f"{subject}: {found.line}") from error


def _of_system(error: OSError) -> str:
    """Which file, and what is wrong with it."""
    said = error.strerror or str(error) or type(error).__name__
    if error.errno == errno.ENAMETOOLONG and error.filename:
        return f"{_name(error)[:80]}...: {said}"
    return f"{_name(error)}: {said}" if error.filename else said


def _name(error: OSError) -> str:
    name = error.filename
    return name.decode(errors="surrogateescape") if isinstance(name, bytes) else str(name)
