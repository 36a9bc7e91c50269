"""The partitioned greedy beside the whole: ``clinical bench scale``."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table

from clinical_backend.acquisition import Embedding, select, warm_up
from clinical_backend.acquisition.partitioned import (
    LocalShards,
    Objective,
    Rows,
    Shard,
    select_from,
    select_partitioned,
)
from clinical_backend.acquisition.partitioned.objective import PARTITIONED
from clinical_backend.lab.benchmarks.smi_case import data, peak_memory, reset_peak
from clinical_backend.learner.backbones.base import available_cpus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from clinical_backend.acquisition.partitioned import PartitionedSelection

__all__ = ["Result", "main", "measure"]

_SHARDS = (2, 4)
_EXEMPLARS = 50
_BUDGET = 100
_EXTRA = 20
"""As docs/scale.md reports them. One of the 20 clusters has about 50 of 20 times 50 rows: exemplars that are alike."""
_MB = 2**20
_HEADINGS = (
    "exemplars", "function", "where", "seconds", "slowest shard's kernel", "rounds and merge", "rounds",
    "candidates of a shard", "MB moved", "peak MB of one, beyond features", "picks as whole",
)  # fmt: skip


@dataclass(frozen=True)
class Result:
    """What one line of the table says.

    Attributes
    ----------
    where
        "whole" (`select`), so many "shards" in this process, one after the other, or on "ray".
    seconds
        In all; of shards, their sum.
    slowest, merge
        Of shards one after the other: with a machine for each, the slowest kernel and the rest would count.
    peak
        Bytes of memory of `select`, or of the first shard, beyond the features.
    picks
        (B,) indices.
    found
        What a partitioned selection took.
    """

    exemplars: str
    function: str
    where: str
    seconds: float
    picks: NDArray[np.int64]
    slowest: float | None = None
    merge: float | None = None
    peak: int | None = None
    found: PartitionedSelection | None = None


def main(points: int, dimension: int, *, ray: bool) -> None:
    """Measure and print the table.

    Parameters
    ----------
    points, dimension
        Of the pool.
    ray
        Whether to measure on a Ray cluster too: that of RAY_ADDRESS, or one of this machine.
    """
    title = f"{points:,} × {dimension}, {_EXEMPLARS} exemplars, B = {_BUDGET}; {available_cpus()} CPUs"
    table = Table(*_HEADINGS, title=title)
    whole: NDArray[np.int64] = np.empty(0, np.int64)
    for result in measure(points, dimension, ray=ray):
        if result.where == "whole":
            whole = result.picks
        table.add_row(*_cells(result, same=bool(np.array_equal(result.picks, whole))))
    Console(width=190).print(table)


def measure(points: int, dimension: int, *, ray: bool) -> Iterator[Result]:
    """Yield for each function and kind of query set the whole first, then its parts.

    The exemplars are alike, of one of the 20 clusters, as readers tag them; or mixed, of all.
    """
    rows, others = data(points, _EXTRA * _EXEMPLARS, dimension)
    units = others / np.maximum(np.linalg.norm(others, axis=1, keepdims=True), 1e-12)
    alike = np.argsort(-(units @ units[0]), kind="stable")[:_EXEMPLARS]
    warm_up()
    with tempfile.TemporaryDirectory(prefix="clinical-scale-") as folder:
        path = Path(folder) / "pool.rows"
        if ray:
            rows.tofile(path)
        for exemplars, query in (("alike", Embedding(others[alike])), ("mixed", Embedding(others[:_EXEMPLARS]))):
            for function in PARTITIONED:
                objective = Objective.of(function, query)
                _in_shards(exemplars, objective, rows[:1000], 1)  # compiles what is not compiled yet
                yield _whole(exemplars, function, rows, query)
                for shards in _SHARDS:
                    yield _in_shards(exemplars, objective, rows, shards)
                for shards in _SHARDS if ray else ():
                    yield _on_ray(exemplars, function, path, query, _edges(points, shards), dimension)


def _whole(exemplars: str, function: str, rows: NDArray[np.float32], query: Embedding) -> Result:
    before = reset_peak()
    started = time.perf_counter()
    found = select(function, Embedding(rows), query, _BUDGET)
    seconds = time.perf_counter() - started
    return Result(exemplars, function, "whole", seconds, found.indices, peak=peak_memory() - before)


def _in_shards(exemplars: str, objective: Objective, rows: NDArray[np.float32], count: int) -> Result:
    shards, seconds, peak = [], [], 0
    for start, stop in _edges(len(rows), count):
        before = reset_peak()
        started = time.perf_counter()
        shards.append(Shard(objective, Embedding(rows[start:stop]), np.arange(start, stop)))
        seconds.append(time.perf_counter() - started)
        peak = max(peak, peak_memory() - before)
    started = time.perf_counter()
    found = select_from(objective, LocalShards(shards), _BUDGET)
    merge = time.perf_counter() - started
    return Result(
        exemplars,
        objective.name,
        f"{count} shards",
        sum(seconds) + merge,
        found.selection.indices,
        slowest=max(seconds),
        merge=merge,
        peak=peak,
        found=found,
    )


def _on_ray(
    exemplars: str, function: str, path: Path, query: Embedding, edges: list[tuple[int, int]], dimension: int
) -> Result:
    parts = [Rows(path, dimension, start, stop) for start, stop in edges]
    started = time.perf_counter()
    found = select_partitioned(function, parts, query, _BUDGET)
    seconds = time.perf_counter() - started
    return Result(exemplars, function, f"{len(parts)} on ray", seconds, found.selection.indices, found=found)


def _edges(points: int, shards: int) -> list[tuple[int, int]]:
    return [(points * place // shards, points * (place + 1) // shards) for place in range(shards)]


def _cells(result: Result, *, same: bool) -> list[str]:
    found = result.found
    seconds = ["" if value is None else f"{value:.2f}" for value in (result.seconds, result.slowest, result.merge)]
    took = ["", "", ""]
    if found is not None:
        moved = (found.received + found.sent) / _MB
        took = [str(found.rounds), f"{max(found.candidates):,}", f"{moved:.2f}"]
    peak = "" if result.peak is None else f"{result.peak / _MB:.0f}"
    return [result.exemplars, result.function, result.where, *seconds, *took, peak, "yes" if same else "no"]
