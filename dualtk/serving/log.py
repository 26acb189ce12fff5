"""Logs as JSON, a line for each event. What was said is never in them."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import datetime, timezone


class JsonLines(logging.Formatter):
    """`time`, `level`, `event`, and the fields of the event (`extra={"fields": ...}`)."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        at = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
        fields = {"time": at, "level": record.levelname.lower(), "event": record.getMessage()}
        fields |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[1] is not None:
            # Where it happened; the message itself might quote what was said.
            last = traceback.extract_tb(record.exc_info[2])[-1:]
            fields["error"] = type(record.exc_info[1]).__name__
            fields["at"] = "".join(f"{frame.filename}:{frame.lineno}" for frame in last)
        return json.dumps(fields, ensure_ascii=False)


def set_up_logs() -> None:
    """Events of the server, and what uvicorn has to say of faults, on stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name, level in (("dualtk.serving", logging.INFO), ("uvicorn.error", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
