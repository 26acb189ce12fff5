"""Fetch a model folder from a model hub, for every command that reads an experiment or a model folder.

Its files are compared with their SHA-256 before the folder is there. The hub is that of HF_ENDPOINT; what is private is
read with the token of HF_TOKEN or `hf auth login`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dualtk.bin.dualtk import run


def parser() -> argparse.ArgumentParser:
    """The options of `dualtk pull`."""
    options = argparse.ArgumentParser(prog="dualtk pull", description=__doc__)
    options.add_argument("repository", metavar="OWNER/NAME", help="repository")
    options.add_argument("out", type=Path, metavar="OUT", help="model folder to write")
    options.add_argument("--revision", metavar="NAME", help="branch, tag or commit; default: the main branch")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Pull; see `parser` for the options."""
    options = parser().parse_args(argv)
    from dualtk.hub import pull  # only here: without the extra the options can still be read

    print(f"{options.out} at {pull(options.repository, options.out, options.revision)}")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
