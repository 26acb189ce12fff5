"""A small pool of threads for kernels that hold no interpreter lock.

Safe to enter from several Python threads, and after a fork. Work is divided in the same way each time, so equal inputs
give equal results.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

Part = TypeVar("Part")

_pools: dict[int, ThreadPoolExecutor] = {}
_lock = threading.Lock()


def map_ranges(function: Callable[[int, int], Part], size: int, parts: int | None = None) -> list[Part]:
    """Call `function(start, stop)` on consecutive ranges that cover `size` items; return the results in order.

    Args:
        function: must release the interpreter's lock to gain anything; torch operations in it use one thread.
        size: number of items.
        parts: number of ranges; None: four for each thread, so that ranges of unequal work balance.
    """
    threads = torch.get_num_threads()
    parts = max(1, min(size, parts or 4 * threads))
    edges = [size * part // parts for part in range(parts + 1)]
    return list(_pool(threads).map(function, edges[:-1], edges[1:]))


def _pool(threads: int) -> ThreadPoolExecutor:
    with _lock:
        if threads not in _pools:
            _pools[threads] = _start_pool(threads)
        return _pools[threads]


def _start_pool(threads: int) -> ThreadPoolExecutor:
    """Start workers in which torch itself uses one thread, and denormal numbers, which slow all sums, are zero.

    Both settings belong to the calling thread, so kernels have workers even where there is only one.
    """
    for dtype in (np.float32, np.float64):
        np.finfo(dtype)  # numpy looks once, and must not do so in a thread where denormals are zero
    ready = threading.Barrier(threads + 1)

    def settle() -> None:
        torch.set_num_threads(1)
        torch.set_flush_denormal(True)
        ready.wait()

    pool = ThreadPoolExecutor(threads, thread_name_prefix="dualtk-kernel", initializer=settle)
    for _ in range(threads):
        pool.submit(int)
    ready.wait()
    torch.set_num_threads(threads)  # the count for threads to come, which the workers have changed
    return pool


def _forget() -> None:
    """In a forked child the threads are gone and the lock may be held by one of them."""
    global _lock
    _lock = threading.Lock()
    _pools.clear()


os.register_at_fork(after_in_child=_forget)


def empty(shape: tuple[int, ...]) -> Tensor:
    """Uninitialised float32 on the CPU, from numpy: it asks for huge pages, which halves the first write's time."""
    return torch.from_numpy(np.empty(shape, np.float32))
