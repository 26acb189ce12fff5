"""Jobs on several processes, with one progress bar over all of them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import torch
from tqdm import tqdm

from dualtk.errors import InputError

Job = TypeVar("Job")
Result = TypeVar("Result")

_progress: Any = None  # the counter shared with the parent, set once in each worker process


def run_jobs(
    function: Callable[[Job], Generator[int, None, Result]],
    jobs: Sequence[Job],
    num_processes: int,
    total: int,
    progress: bool = True,
    description: str = "",
) -> list[Result]:
    """What `function` returns of every job; it yields the units of work it has just done, out of `total`.

    Every process computes with one thread. With one process the jobs run in this one. The first exception stops the
    jobs that have not begun and is raised here; a worker whose parent was killed ends too.
    """
    if num_processes < 1:
        raise InputError(f"the number of jobs must be at least 1, not {num_processes}")
    if not jobs:
        return []
    with tqdm(total=total, desc=description, unit="utt", disable=not progress, mininterval=0.5) as bar:
        if num_processes == 1:
            return _run_here(function, jobs, bar)
        return _run_apart(function, jobs, num_processes, bar)


def _finish(units: Generator[int, None, Result], done: Callable[[int], object]) -> Result:
    """Run a job to its end, saying each time what it has done; what it returns."""
    while True:
        try:
            done(next(units))
        except StopIteration as end:
            result: Result = end.value
            return result


def _run_here(
    function: Callable[[Job], Generator[int, None, Result]], jobs: Sequence[Job], bar: tqdm[Any]
) -> list[Result]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [_finish(function(job), bar.update) for job in jobs]
    finally:
        torch.set_num_threads(threads)


def _run_apart(
    function: Callable[[Job], Generator[int, None, Result]], jobs: Sequence[Job], processes: int, bar: tqdm[Any]
) -> list[Result]:
    # A plain fork would inherit torch's thread pools in an unknown state; a fork server is clean and imports once.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([function.__module__])
    counter = context.Value("q", 0)
    with ProcessPoolExecutor(min(processes, len(jobs)), context, _start_worker, (counter,)) as pool:
        futures = [pool.submit(_run_job, function, job) for job in jobs]
        try:
            while _unfinished(futures):
                wait(futures, timeout=0.2, return_when=FIRST_EXCEPTION)
                bar.update(counter.value - bar.n)
            bar.update(counter.value - bar.n)
            return [future.result() for future in futures]
        except BrokenProcessPool as error:
            raise InputError("a worker process was killed (out of memory?); the same command continues") from error
        finally:
            for future in futures:
                future.cancel()
            if isinstance(sys.exc_info()[1], KeyboardInterrupt):
                end_workers()


def _unfinished(futures: list[Future[Result]]) -> bool:
    """Whether any job still runs; raises what a failed one raised."""
    for future in futures:
        if future.done():
            future.result()
    return not all(future.done() for future in futures)


def _start_worker(counter: Any) -> None:
    global _progress
    _progress = counter
    torch.set_num_threads(1)
    follow_parent()


def end_workers() -> None:
    """Do not wait for the jobs that run: the user did not either."""
    for process in multiprocessing.active_children():
        process.terminate()


def follow_parent() -> None:
    """End this worker when its parent is gone, killed perhaps; it would wait for its next job for ever.

    A Ctrl-C of the terminal comes to all of them, and is for the parent.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run_job(function: Callable[[Job], Generator[int, None, Result]], job: Job) -> Result:
    return _finish(function(job), _count)


def _count(units: int) -> None:
    with _progress.get_lock():
        _progress.value += units
