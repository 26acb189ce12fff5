"""Types of command-line options."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def at_least(lowest: int) -> Callable[[str], int]:
    """The `type` of an option that is a whole number of at least `lowest`."""

    def convert(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = lowest - 1
        if number < lowest:
            raise argparse.ArgumentTypeError(f"{text}: expected a whole number of at least {lowest}")
        return number

    return convert
