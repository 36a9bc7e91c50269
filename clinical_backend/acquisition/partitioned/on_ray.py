"""The partitioned greedy on a Ray cluster: each part of the pool is read, and stays, on a node."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from clinical_backend.acquisition.partitioned.merge import PartitionedSelection, select_from
from clinical_backend.acquisition.partitioned.objective import Objective
from clinical_backend.acquisition.partitioned.shard import Shard
from clinical_backend.system.cluster import answers, connected, on_node, working_nodes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from clinical_backend.acquisition.embedding import Embedding
    from clinical_backend.acquisition.partitioned.parts import Part
    from clinical_backend.acquisition.partitioned.proposal import Leaders, Proposal

__all__ = ["select_partitioned"]

_RESTARTS = 3  # of a part whose node went away; where more are lost, something else is wrong


def select_partitioned(
    name: str,
    parts: Sequence[Part],
    query: Embedding,
    budget: int,
    *,
    eta: float = 1.0,
    lambda_: float = 1.0,
    concave: str = "log",
    similarity: str = "rescaled",
    address: str | None = None,
) -> PartitionedSelection:
    """Pick from a pool whose parts are read on the nodes of a Ray cluster.

    The picks are those of ``acquisition.select`` on the whole pool (see ``merge``). The nodes take the parts in
    turn; a shard that is lost with its node is read again elsewhere.

    Parameters
    ----------
    name
        "flqmi", "gcmi" or "com".
    parts
        What gives the embeddings of the parts, such as ``Rows``, called on the nodes. The pool is their rows one part
        after the other.
    query
        (q) the exemplars.
    budget
        B, the number of picks.
    eta, lambda_, concave, similarity
        As ``acquisition.select`` takes them.
    address
        Of the cluster's head; by default RAY_ADDRESS.

    Raises
    ------
    InvalidArgumentError
        Names the argument and the reason.
    ClusterError
        Where Ray is not installed, no cluster answers, or its workers fail.
    """
    objective = Objective.of(name, query, eta=eta, lambda_=lambda_, concave=concave, similarity=similarity)
    with connected(address) as ray:
        holder, shared = ray.remote(_Holder), ray.put(objective)
        places = cycle(working_nodes(ray))
        actors = [
            holder.options(
                num_cpus=0,
                scheduling_strategy=on_node(place),
                max_restarts=_RESTARTS,
                max_task_retries=_RESTARTS,
            ).remote(shared, part)
            for part, place in zip(parts, places, strict=False)
        ]
        try:
            return select_from(objective, _ClusterShards(ray, actors), budget)
        finally:
            for each in actors:
                ray.kill(each)


class _Holder:
    """One shard on a node, read at the first call, and again where Ray started it anew."""

    def __init__(self, objective: Objective, part: Part) -> None:
        self._objective, self._part = objective, part
        self._points: Embedding | None = None
        self._shard: Shard | None = None

    def size(self) -> int:
        self._points = self._part()
        return len(self._points)

    def propose(self, start: int, *arguments: Any) -> Proposal:
        return self._made(start).propose(*arguments)

    def leaders(self, start: int, budget: int) -> Leaders:
        return self._made(start).leaders(budget)

    def _made(self, start: int) -> Shard:
        if self._shard is None:
            points = self._part() if self._points is None else self._points
            self._shard = Shard(self._objective, points, np.arange(start, start + len(points)))
            self._points = None
        return self._shard


class _ClusterShards:
    """Shards on the nodes of a cluster, asked all at once."""

    def __init__(self, ray: Any, actors: Sequence[Any]) -> None:  # noqa: ANN401 - Ray has no types
        self._ray, self._actors = ray, actors
        self._starts: list[int] = []

    def sizes(self) -> list[int]:
        sizes: list[int] = answers(self._ray, [actor.size.remote() for actor in self._actors])
        self._starts = [sum(sizes[:place]) for place in range(len(sizes))]
        return sizes

    def propose(
        self, round_: int, picked: NDArray[np.int64], similarities: NDArray[np.float32], count: int
    ) -> list[Proposal]:
        return self._ask("propose", round_, picked, similarities, count)

    def leaders(self, budget: int) -> list[Leaders]:
        return self._ask("leaders", budget)

    def _ask(self, method: str, *arguments: object) -> list[Any]:
        calls = zip(self._actors, self._starts, strict=True)
        return answers(self._ray, [getattr(actor, method).remote(start, *arguments) for actor, start in calls])
