"""A user's folder into which a command writes files: it may replace those that it wrote, unless they were changed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from dualtk.errors import InputError
from dualtk.files import read_blocks, require_file, write_text

FILE = ".dualtk.sha256"  # lines as `sha256sum` has them, the last of a name counts


class Written:
    """What a command wrote into a folder, by name and SHA-256.

    Args:
        folder: made where it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def require_own(self, name: str) -> None:
        """Refuse to replace a file that was not written here, or was changed since.

        Raises:
            InputError: names it.
        """
        path = self.folder / name
        require_file(path)
        if not os.path.lexists(path):
            return
        digest = hashlib.sha256()
        for block in read_blocks(path):
            digest.update(block)
        if self._listed().get(name) != digest.hexdigest():
            raise InputError(f"{path}: exists, and was not written by this command or was changed since: move it away")

    def write(self, name: str, text: str) -> None:
        """Write a file, and note that.

        Raises:
            InputError: see `require_own`; or it cannot be written.
        """
        self.require_own(name)
        write_text(self.folder / name, text)
        line = f"{hashlib.sha256(text.encode()).hexdigest()}  {name}\n"
        try:
            with (self.folder / FILE).open("a", encoding="utf-8") as stream:
                stream.write(line)  # one write, so that processes do not mix their lines
        except OSError as error:
            raise InputError(f"{self.folder / FILE}: cannot be written: {error.strerror}") from error

    def _listed(self) -> dict[str, str]:
        path = self.folder / FILE
        if not path.is_file():
            return {}
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
