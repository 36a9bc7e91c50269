"""Work in batches, done by one worker on each node of a Ray cluster."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, TypeVar, cast

from clinical_backend.system.cluster import connected, on_node, translated, working_nodes

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

__all__ = ["map_on_cluster"]

Batch = TypeVar("Batch")
Result = TypeVar("Result")

logger = logging.getLogger(__name__)

_AHEAD = 2  # one that is worked on, the next at hand
_RESTARTS = 10
_RETRIES = 2
"""A batch is done three times at most: what kills that many workers is the batch itself. A worker that is lost more
often than ten times has a machine that is no help; chosen, not measured."""


def map_on_cluster(
    address: str | None, make: Callable[[], Callable[[Batch], Result]], batches: Iterable[Batch]
) -> Generator[Result, None, None]:
    """Do batches of work on all nodes of a Ray cluster; yield the results as they come.

    A worker that dies is started anew, on another node if its own is gone, and its batches are done again; a
    batch that its worker does not survive three times is given up with an error.

    Parameters
    ----------
    address
        Of the cluster's head; by default RAY_ADDRESS.
    make
        Makes what does the work, called once in each worker; importable on every node.
    batches
        Read as they are needed.

    Raises
    ------
    ClusterError
        Where Ray is not installed, no cluster answers, or its workers fail.
    ClinicalError
        What a worker raised on purpose.
    """
    with connected(address) as ray:
        workers = _workers(ray, make)
        waiting = iter(batches)
        running: dict[Any, Any] = {}

        def start(worker: Any) -> None:  # noqa: ANN401 - Ray has no types
            for batch in waiting:
                running[worker.work.remote(batch)] = worker
                return

        try:
            for _ in range(_AHEAD):
                for worker in workers:
                    start(worker)
            while running:
                done, _ = ray.wait(list(running), num_returns=1)
                worker = running.pop(done[0])
                with translated():
                    result = ray.get(done[0])
                start(worker)
                yield cast("Result", result)
        finally:
            for worker in workers:
                ray.kill(worker)


def _workers(ray: Any, make: Callable[[], object]) -> list[Any]:  # noqa: ANN401 - Ray has no types
    """Start one worker for each GPU of a node, or one on a node without; on nodes with CPUs only."""
    workers: list[Any] = []
    for node in working_nodes(ray):
        gpus = int(node["Resources"].get("GPU", 0))
        actor = ray.remote(_Worker).options(
            num_cpus=0,
            num_gpus=min(gpus, 1),
            scheduling_strategy=on_node(node),
            max_restarts=_RESTARTS,
            max_task_retries=_RETRIES,
        )
        workers.extend(actor.remote(make) for _ in range(max(gpus, 1)))
    logger.info("%d workers on the Ray cluster", len(workers))
    return workers


class _Worker:
    """Does batches of work in a process of Ray; what it works with is made at the first."""

    def __init__(self, make: Callable[[], Callable[[Any], object]]) -> None:
        self._make = make
        self._do: Callable[[Any], object] | None = None

    def work(self, batch: object) -> object:
        if self._do is None:
            self._do = self._make()
        return self._do(batch)
