"""Tasks that are to end."""

from __future__ import annotations

import asyncio

from dualtk.serving.tasks import cancel_all


def test_a_task_that_misses_its_cancellation_ends_all_the_same() -> None:
    async def deaf(times: int) -> None:
        for _ in range(times):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                continue
        await asyncio.sleep(60)

    async def failing() -> None:
        raise ValueError("dropped")

    async def run() -> list[bool]:
        tasks = [asyncio.create_task(one) for one in (deaf(0), deaf(1), deaf(2), failing())]
        await asyncio.sleep(0.05)
        await asyncio.wait_for(cancel_all(tasks), 10)
        return [task.done() for task in tasks]

    assert asyncio.run(run()) == [True] * 4
