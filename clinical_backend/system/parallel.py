"""Threads that work ahead of a lazy consumer by a bounded amount."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["map_in_order"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_order(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int, look_ahead: int
) -> Iterator[Result]:
    """Apply a function to items in threads; yield the results lazily, in the order of the items.

    Parameters
    ----------
    function
        Called from several threads at once. What it raises is raised here, in its turn.
    items
        Read in the consumer's thread, never further than ``look_ahead`` items ahead of what was yielded. Where they
        end with an error, it is raised in its turn, too.
    workers
        Number of threads.
    look_ahead
        Most results that are under way or waiting at any time, which bounds the memory.
    """
    source = iter(items)
    failed: Exception | None = None
    executor = ThreadPoolExecutor(max_workers=workers)
    try:
        waiting: deque[Future[Result]] = deque()
        while True:
            try:
                item = next(source)
            except StopIteration:
                break
            except Exception as error:  # noqa: BLE001 - it waits for its turn
                failed = error
                break
            waiting.append(executor.submit(function, item))
            if len(waiting) >= look_ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
        if failed is not None:
            raise failed
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
