"""Tasks of asyncio that are to end."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

AGAIN = 0.1  # seconds after which a task that goes on is cancelled once more


async def cancel_all(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait until they have ended; what they raise is dropped.

    Once is not enough: before Python 3.12 `wait_for` goes on as if nothing had been, where a task is cancelled just
    when what it waits for is done.
    """
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=AGAIN)
    await asyncio.gather(*tasks, return_exceptions=True)
