"""One measurement of the scale benchmark, in a process of its own: `python -m … '{"function": "flqmi", …}'`."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clinical_backend.acquisition import Embedding, select, warm_up
from clinical_backend.benchmarks.smi_case import data, peak_memory, reset_peak
from clinical_backend.distributed import LocalShards, Objective, Rows, Shard, select_from, select_partitioned

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical_backend.distributed import PartitionedSelection

__all__ = ["Case", "main", "write_data"]

_EXTRA = 20


@dataclass(frozen=True)
class Case:
    """What is measured.

    Attributes
    ----------
    function
        "flqmi", "gcmi" or "com".
    exemplars
        "alike", of one cluster as a reader tags them, or "mixed", of all 20 clusters.
    engine
        "whole" (`select`), "shards" in one process, one after the other, or "ray".
    shards
        How many.
    folder
        Where the data lie.
    """

    function: str
    exemplars: str
    engine: str
    shards: int
    n: int
    d: int
    folder: str
    budget: int = 100


def write_data(folder: Path, n: int, d: int, q: int) -> None:
    """Write the pool and both query sets."""
    rows, others = data(n, _EXTRA * q, d)
    rows.tofile(folder / "pool.rows")
    units = others / np.linalg.norm(others, axis=1, keepdims=True)
    alike = np.argsort(-(units @ units[0]), kind="stable")[:q]
    np.savez(folder / "queries.npz", alike=others[alike], mixed=others[:q])


def main(argument: str) -> None:
    """Measure a case and print the result as one line of JSON."""
    case = Case(**json.loads(argument))
    with np.load(Path(case.folder) / "queries.npz") as queries:
        query = Embedding(queries[case.exemplars])
    warm_up()
    measure = {"whole": _whole, "shards": _shards, "ray": _ray}[case.engine]
    sys.stdout.write(json.dumps(asdict(case) | measure(case, query)) + "\n")


def _whole(case: Case, query: Embedding) -> dict[str, Any]:
    pool = Embedding(_rows(case))
    select(case.function, pool.take(slice(0, 1000)), query, 3)
    before = reset_peak()
    started = time.perf_counter()
    found = select(case.function, pool, query, case.budget)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "peak_mb": (peak_memory() - before) / 2**20, "picks": found.indices.tolist()}


def _shards(case: Case, query: Embedding) -> dict[str, Any]:
    """Measure the shards one after the other: with a machine for each, the slowest would count."""
    rows = _rows(case)
    objective = Objective.of(case.function, query)
    select_from(objective, LocalShards([Shard(objective, Embedding(rows[:1000]), np.arange(1000))]), 3)
    shards, seconds = [], []
    before = reset_peak()
    for start, stop in _edges(case):
        started = time.perf_counter()
        shards.append(Shard(objective, Embedding(rows[start:stop]), np.arange(start, stop)))
        seconds.append(time.perf_counter() - started)
        if len(shards) == 1:
            peak = peak_memory() - before
    started = time.perf_counter()
    found = select_from(objective, LocalShards(shards), case.budget)
    merge = time.perf_counter() - started
    return {"slowest": max(seconds), "merge": merge, "seconds": sum(seconds) + merge, "peak_mb": peak / 2**20} | _of(
        found
    )


def _ray(case: Case, query: Embedding) -> dict[str, Any]:
    path = Path(case.folder).resolve() / "pool.rows"
    parts = [Rows(path, case.d, start, stop) for start, stop in _edges(case)]
    import ray  # noqa: PLC0415 - optional

    ray.init(log_to_driver=False, include_dashboard=False, num_cpus=2)
    select_partitioned(case.function, [Rows(path, case.d, 0, 1000)], query, 3)
    started = time.perf_counter()
    found = select_partitioned(case.function, parts, query, case.budget)
    return {"seconds": time.perf_counter() - started} | _of(found)


def _of(found: PartitionedSelection) -> dict[str, Any]:
    return {
        "rounds": found.rounds,
        "candidates": max(found.candidates),
        "moved_mb": (found.received + found.sent) / 2**20,
        "picks": found.selection.indices.tolist(),
    }


def _rows(case: Case) -> NDArray[np.float32]:
    return np.fromfile(Path(case.folder) / "pool.rows", np.float32).reshape(case.n, case.d)


def _edges(case: Case) -> list[tuple[int, int]]:
    return [(case.n * place // case.shards, case.n * (place + 1) // case.shards) for place in range(case.shards)]


if __name__ == "__main__":
    main(sys.argv[1])
