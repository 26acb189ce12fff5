"""Utterances that cannot be read: how many may be left out, and the list that names each with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dualtk.errors import InputError, visible
from dualtk.files import write_text
from dualtk.tables import table_text

FILE = "left_out"  # lines `utterance reason`, in the folder of what was made without them


def require_few(bad: Mapping[str, str], most: int, where: object, of: int | None = None) -> None:
    """Refuse more than `most` utterances that cannot be read, or all; `bad` has their reasons.

    Args:
        bad: reasons by utterance.
        most: that may be left out.
        where: what they are of.
        of: how many there are with those that can be read; None: not known yet.

    Raises:
        InputError: the first of them, and how many there are.
    """
    if len(bad) <= most and (not bad or len(bad) != of):
        return
    name, reason = next(iter(bad.items()))
    first = reason if f"utterance {name}:" in reason else f"utterance {name}: {reason}"
    if most == 0:
        more = f" (and {len(bad) - 1} more; --max-bad leaves them out)" if len(bad) > 1 else ""
        raise InputError(first + more)
    if len(bad) <= most:
        raise InputError(f"{where}: not one utterance can be read; {first}")
    raise InputError(f"{where}: {len(bad)} utterances cannot be read, more than --max-bad {most}; {first}")


def bad_text(bad: Mapping[str, str]) -> str:
    """The list, in the order of `LC_ALL=C sort`."""
    return table_text({name: visible(reason) for name, reason in bad.items()})


def write_bad(folder: Path, bad: Mapping[str, str]) -> None:
    """Write the list into a folder; none where nothing was left out."""
    if bad:
        write_text(folder / FILE, bad_text(bad))
    else:
        (folder / FILE).unlink(missing_ok=True)


def said(folder: Path, bad: Mapping[str, str]) -> list[str]:
    """A line for a person, where anything was left out."""
    if not bad:
        return []
    count = "1 utterance" if len(bad) == 1 else f"{len(bad)} utterances"
    return [f"{folder}: {count} left out, for they cannot be read: see {folder / FILE}"]
