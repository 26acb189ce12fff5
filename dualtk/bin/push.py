"""Put a model folder of `dualtk pack` on a model hub.

The hub is that of HF_ENDPOINT; who may write there is told by HF_TOKEN or `hf auth login`, never by an option.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dualtk.bin.dualtk import run


def parser() -> argparse.ArgumentParser:
    """The options of `dualtk push`."""
    options = argparse.ArgumentParser(prog="dualtk push", description=__doc__)
    options.add_argument("folder", type=Path, metavar="FOLDER", help="model folder that `dualtk pack` wrote")
    options.add_argument("repository", metavar="OWNER/NAME", help="repository; made where it is absent")
    options.add_argument("--private", action="store_true", help="a repository that is made is private")
    options.add_argument("--revision", metavar="NAME", help="branch; default: the main one")
    options.add_argument("--message", default="Model folder of dualtk", metavar="TEXT", help="of the commit")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Push; see `parser` for the options."""
    options = parser().parse_args(argv)
    from dualtk.hub import push  # only here: without the extra the options can still be read

    pushed = push(
        options.folder,
        options.repository,
        private=options.private,
        message=options.message,
        revision=options.revision,
    )
    print(f"{pushed.url} at {pushed.commit}")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
