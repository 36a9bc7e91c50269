"""Compiled loops, and the threads they run on."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from threading import Lock
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from numba import njit
from threadpoolctl import ThreadpoolController

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Workers", "compiled"]

_Function = TypeVar("_Function", bound="Callable[..., Any]")
_LEAST_ROWS = 4096
"""Of a thread, unless a loop says otherwise: of the order at which a part outweighs handing it over; not measured."""
_BLAS_LOCK = Lock()  # its number of threads belongs to the process


def compiled(function: _Function) -> _Function:
    """Compile a function of arrays on its first call, kept on disk for the next process.

    Sums may be reordered, so that they run in vectors, and the numbers must be finite. The
    interpreter's lock is released.
    """
    flags = {"reassoc", "contract", "arcp", "nsz", "nnan"}
    return cast("_Function", njit(cache=True, nogil=True, fastmath=flags, error_model="numpy")(function))


class Workers:
    """Threads for compiled loops, of the lifetime of one selection.

    Numba's own threads are not used: its layers either refuse calls from two threads at once or do not
    survive the fork of a job's process.
    """

    def __init__(self) -> None:
        self._count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(self._count, thread_name_prefix="acquisition")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def run(self, loop: Callable[..., Any], count: int, *arguments: object, least: int = _LEAST_ROWS) -> list[Any]:
        """Call ``loop(start, stop, *arguments)`` on parts of ``range(count)``; return their results."""
        parts = max(1, min(self._count, count // least))
        edges = [count * part // parts for part in range(parts + 1)]
        if parts == 1:
            return [loop(0, count, *arguments)]
        (start, stop), *others = pairwise(edges)
        calls = [self._pool.submit(loop, *edge, *arguments) for edge in others]
        first = loop(start, stop, *arguments)  # the calling thread works too
        return [first, *(call.result() for call in calls)]

    def blocks(self, task: Callable[[int, int], None], count: int, size: int) -> None:
        """Call ``task(start, stop)`` on blocks of ``range(count)``, each thread taking the next that is left.

        A task's matrix products run on the thread that asks for them: a block then stays in its cache
        for what follows, and no thread waits for another before the end.
        """
        starts = iter(range(0, count, size))

        def work() -> None:
            for start in starts:
                task(start, min(start + size, count))

        if count <= size:
            work()
            return
        with _BLAS_LOCK, _controller().limit(limits=1, user_api="blas"):
            others = [self._pool.submit(work) for _ in range(min(self._count, -(-count // size)) - 1)]
            work()
            for other in others:
                other.result()


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()
