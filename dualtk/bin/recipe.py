"""Write a recipe, with the methods and scripts that it needs, into a folder: for who has no checkout of dualtk.

Without a name, the recipes that there are. What is written is the user's, to change.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from dualtk.bin.dualtk import run
from dualtk.errors import InputError
from dualtk.files import atomic_folder
from dualtk.shared import shared_files, top

BASE = "librispeech"  # whose run.sh every other recipe ends in


def parser() -> argparse.ArgumentParser:
    """The options of `dualtk recipe`."""
    options = argparse.ArgumentParser(prog="dualtk recipe", description=__doc__)
    options.add_argument("name", nargs="?", metavar="NAME", help="a recipe; default: list them")
    options.add_argument("folder", nargs="?", type=Path, metavar="DIR", help="absent or empty")
    return options


def descriptions(source: Path) -> dict[str, str]:
    """Every recipe with the first line of what its run.sh says of itself."""
    scripts = sorted(source.glob("egs/*/asr1/run.sh"))
    return {one.parts[-3]: one.read_text(encoding="utf-8").splitlines()[1].removeprefix("# ") for one in scripts}


def write_recipe(source: Path, name: str, folder: Path) -> Path:
    """Copy a recipe and all that it needs into `folder`; returns its run.sh.

    Raises:
        InputError: the folder exists and is not empty.
    """
    with atomic_folder(folder) as temporary:
        for path in shared_files(source):
            of_another = path.parts[0] == "egs" and path.parts[1] not in ("methods", BASE, name)
            if of_another and path.parts[3] != "conf":  # sizes are based on those of other recipes
                continue
            (temporary / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / path, temporary / path)
            (temporary / path).chmod(0o755 if (source / path).read_bytes().startswith(b"#!") else 0o644)
    return folder / f"egs/{name}/asr1/run.sh"


def main(argv: Sequence[str] | None = None) -> int:
    """Write a recipe or list them; see `parser` for the options."""
    options = parser().parse_args(argv)
    source = top()
    if source is None:
        raise InputError("this installation holds no recipes: install dualtk from its wheel, or take a checkout")
    known = descriptions(source)
    if options.name is None:
        print(*(f"{name:<14}{text}" for name, text in known.items()), sep="\n")
        return 0
    if options.name not in known:
        raise InputError(f"no recipe {options.name!r}: there are {', '.join(known)}")
    if options.folder is None:
        raise InputError(f"dualtk recipe {options.name} DIR: the folder to write it to is missing")
    print(f"{write_recipe(source, options.name, options.folder)} --help describes its options")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
