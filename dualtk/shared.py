"""Recipes and what they share: in a checkout at its top, in an installed package in its folder `shared`.

setup.py reads this file too, so it imports nothing of dualtk.
"""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
FOLDER = "shared"
# Relative to the top; what recipes write there is not among these.
PATTERNS = (
    "egs/methods/**/*.yaml",
    "egs/*/asr1/*.sh",
    "egs/*/asr1/conf/*.yaml",
    "egs/*/asr1/conf/*.conf",
    "egs/*/asr1/local/*.py",
    "utils/*.sh",
    "utils/*.txt",
)


def top() -> Path | None:
    """The folder that holds egs/ and utils/; None where this installation has none."""
    for folder in (PACKAGE / FOLDER, PACKAGE.parent):
        if (folder / "egs/methods").is_dir() and (folder / "utils").is_dir():
            return folder
    return None


def shared_files(folder: Path) -> list[Path]:
    """The files of recipes under `folder`, relative to it, sorted."""
    return sorted(path.relative_to(folder) for pattern in PATTERNS for path in folder.glob(pattern) if path.is_file())
