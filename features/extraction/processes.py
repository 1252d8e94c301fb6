"""A function over many tasks in several processes, which survives tasks that kill their process.

Processes are spawned, not forked, so it is safe beside threads and devices; they end with the process that started
them, even if that one is killed.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

from ...datasets.core.errors import SerbenchError

Task = TypeVar("Task")
Result = TypeVar("Result")

BATCH = 4
"""Tasks that go to a process together: enough to hide the way there and back, few enough to end at the same time."""
INTERRUPTED = 130
"""Exit status of a process that Ctrl-C ended."""
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def in_processes(
    tasks: Sequence[Task],
    function: Callable[[Task], Result],
    jobs: int,
    died: Callable[[Task], Result],
    *,
    batch: int = BATCH,
    share_cores: bool = True,
) -> Iterator[Result]:
    """Results of `function` for every task, in the order in which they are ready.

    Parameters
    ----------
    tasks : picklable arguments
    function : picklable; sent to each process once
    jobs : number of processes
    died : result for a task that ended its process; it may raise
    batch : tasks that go to a process together; 1 for long ones
    share_cores : let each process use its share of the processors alone, where nothing else says how many threads

    Raises
    ------
    SerbenchError
        If processes can't be started at all.
    """
    waiting = deque(list(tasks[i : i + batch]) for i in range(0, len(tasks), batch))
    jobs = min(jobs, len(waiting))
    with _thread_caps(jobs) if share_cores else nullcontext():
        while waiting:
            running: dict[Future[list[Result]], list[Task]] = {}
            try:
                with _pool(function, jobs) as pool:
                    yield from _drain(pool, waiting, running, jobs)
            except BrokenProcessPool:
                for task in [t for batch in running.values() for t in batch]:
                    yield _alone(task, function, died)


def _drain(
    pool: ProcessPoolExecutor, waiting: deque[list[Task]], running: dict[Future[list[Result]], list[Task]], jobs: int
) -> Iterator[Result]:
    """Keep the pool busy until nothing is waiting or running."""
    while waiting or running:
        while waiting and len(running) < 2 * jobs:
            batch = waiting.popleft()
            try:
                future = pool.submit(_run, batch)
            except BrokenProcessPool:
                waiting.appendleft(batch)
                raise
            running[future] = batch
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            results = future.result()
            del running[future]
            yield from results


def _alone(task: Task, function: Callable[[Task], Result], died: Callable[[Task], Result]) -> Result:
    """One task in a process of its own: whatever dies now died of this task."""
    try:
        with _pool(function, 1) as pool:
            result: Result = pool.submit(_run, [task]).result()[0]
            return result
    except BrokenProcessPool:
        return died(task)


@contextmanager
def _pool(function: Callable[[Any], Any], jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that hold `function` and have answered once; what still waits is cancelled at the end."""
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _prepare, (function,))
    try:
        try:
            wait([pool.submit(os.getpid) for _ in range(jobs)], return_when=FIRST_COMPLETED).done.pop().result()
        except BrokenProcessPool as error:
            raise SerbenchError(
                "worker processes can't be started. Type --jobs 1; in a script, put the code that runs under "
                "if __name__ == '__main__': (each worker imports the script)."
            ) from error
        yield pool
    except KeyboardInterrupt:  # what they work on is not waited for; a signal may have reached this process alone
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_function: Callable[[Any], Any]


def _prepare(function: Callable[[Any], Any]) -> None:
    """In each process, first: keep the function, end without a word on Ctrl-C, and end when the parent ends."""
    global _function
    _function = function
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def _run(batch: list[Any]) -> list[Any]:
    return [_function(task) for task in batch]


@contextmanager
def _thread_caps(jobs: int) -> Iterator[None]:
    """Let processes that start meanwhile use their share of the processors, or less if the user asked for less."""
    share = max(1, len(os.sched_getaffinity(0)) // jobs) if hasattr(os, "sched_getaffinity") else 1
    before = {name: os.environ.get(name) for name in _THREADS}
    for name, value in before.items():
        os.environ[name] = str(min(share, int(value)) if value and value.isdigit() else share)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
