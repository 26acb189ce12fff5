"""Utterances that training cannot read: left out and listed by all processes together, up to a number."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from dualtk.data.bad import require_few
from dualtk.data.batches import UnreadError
from dualtk.errors import InputError, visible

logger = logging.getLogger("dualtk")


class LeftOut:
    """The list, which lies in the experiment folder and goes on where a run does.

    Every process appends what it meets to the one file, and counts what is in it: an utterance counts once, however
    many epochs, processes and continued runs meet it.

    Args:
        path: of the list, lines `utterance reason`.
        most: utterances that may be left out.
        where: what they are of, for messages.
    """

    def __init__(self, path: Path, most: int, where: Path) -> None:
        self.path, self.most, self.where = path, most, where
        self._known: set[str] = set()

    def __call__(self, unread: Sequence[UnreadError]) -> None:
        """Leave utterances out.

        Raises:
            InputError: one more than may be; or the list cannot be written.
        """
        if self.most == 0:
            raise unread[0]
        new = {one.utterance: one.reason for one in unread if one.utterance not in self._known}
        if not new:
            return
        self._known |= new.keys()
        listed = self._listed()
        for name, reason in new.items():
            if name not in listed:
                logger.warning("left out: %s", reason)
        lines = [f"{name} {visible(reason)}\n" for name, reason in new.items() if name not in listed]
        try:
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write("".join(lines))  # one write, so that processes do not mix their lines
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written: {error.strerror}") from error
        require_few(self._listed(), self.most, self.where)

    def _listed(self) -> dict[str, str]:
        """All that any process has left out."""
        if not self.path.exists():
            return {}
        lines = self.path.read_text(encoding="utf-8").splitlines()
        return {name: reason for name, _, reason in (line.partition(" ") for line in lines)}
