"""One measurement of the SMI benchmark, in a process of its own: `python -m … '{"function": "flqmi", …}'`."""

from __future__ import annotations

import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clinical_backend.acquisition import ACQUISITIONS, Embedding, select, warm_up
from clinical_backend.acquisition.compiled.similarity import Directions, Map, cross
from clinical_backend.acquisition.compiled.threads import Workers
from clinical_backend.acquisition.reference import submodlib as submodlib_engine
from clinical_backend.acquisition.request import Concave, Request, Similarity

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["Case", "data", "main", "peak_memory", "reset_peak"]


@dataclass(frozen=True)
class Case:
    """What is measured.

    Attributes
    ----------
    engine
        "ours", "submodlib", or "gradient" for the factorised gradient embedding against the built one.
    """

    engine: str
    function: str
    n: int
    q: int
    d: int
    budget: int = 100
    repeats: int = 5


def main(argument: str) -> None:
    """Measure a case and print the result as one line of JSON."""
    case = Case(**json.loads(argument))
    measure = {"ours": _ours, "submodlib": _submodlib, "gradient": _gradient}[case.engine]
    sys.stdout.write(json.dumps(asdict(case) | measure(case)) + "\n")


def data(n: int, q: int, d: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return features like those behind a ReLU: 20 clusters, half of the numbers zero."""
    generator = np.random.default_rng(0)
    centres = generator.standard_normal((20, d), dtype=np.float32)
    rows = np.empty((n + q, d), np.float32)
    for start in range(0, n + q, 50_000):
        part = rows[start : start + 50_000]
        generator.standard_normal(out=part, dtype=np.float32)
        part += centres[generator.integers(0, 20, len(part))]
        np.maximum(part, 0, out=part)
    return rows[:n], rows[n:]


def _ours(case: Case) -> dict[str, Any]:
    rows, exemplars = data(case.n, case.q, case.d)
    warm = _seconds(warm_up)
    stages = _timed_stages(sys.modules[ACQUISITIONS[case.function].run.__module__])
    pool, query = Embedding(rows), Embedding(exemplars)
    floors, reads, totals, kernels = [], [], [], []
    before = reset_peak()
    peak = 0
    direction = exemplars[0].copy()
    for _ in range(case.repeats):
        stages.clear()
        totals.append(_seconds(lambda: select(case.function, pool, query, case.budget)))
        kernels.append(sum(stages))
        peak = max(peak, peak_memory() - before)
        floors.append(_seconds(lambda: rows @ exemplars.T))
        reads.append(_seconds(lambda: rows @ direction))
    return {
        "warm_up": warm,
        "total": statistics.median(totals),
        "kernel": statistics.median(kernels),
        "selection": statistics.median(total - kernel for total, kernel in zip(totals, kernels, strict=True)),
        "floor": statistics.median(floors),
        "read": statistics.median(reads),
        "ratio": statistics.median(total / floor for total, floor in zip(totals, floors, strict=True)),
        "read_ratio": statistics.median(
            total / (case.budget * read) for total, read in zip(totals, reads, strict=True)
        ),
        "peak_mb": peak / 2**20,
    }


def _submodlib(case: Case) -> dict[str, Any]:
    rows, exemplars = data(case.n, case.q, case.d)
    warm_up()
    submodlib_engine.submodlib_function(case.function, _request(rows[:50], exemplars, 5))  # imports it
    request = _request(rows, exemplars, case.budget)
    before = reset_peak()
    stages = _timed_stages(submodlib_engine)
    started = time.perf_counter()
    function = submodlib_engine.submodlib_function(case.function, request)
    constructor = time.perf_counter() - started - sum(stages)
    kernel = sum(stages)
    maximize = _seconds(lambda: function.maximize(case.budget, optimizer="LazyGreedy", show_progress=False))
    return {
        "kernel": kernel,
        "constructor": constructor,
        "maximize": maximize,
        "selection": constructor + maximize,
        "total": kernel + constructor + maximize,
        "peak_mb": (peak_memory() - before) / 2**20,
    }


def _request(rows: NDArray[np.float32], exemplars: NDArray[np.float32], budget: int) -> Request:
    return Request(
        pool=Embedding(rows),
        query=Embedding(exemplars),
        budget=budget,
        eta=1.0,
        lambda_=1.0,
        nu=1.0,
        concave=Concave.LOG,
        similarity=Similarity.RESCALED,
        conditioning=None,
        labelled=None,
        probabilities=None,
        weight=1.0,
        seed=0,
    )


def _gradient(case: Case) -> dict[str, Any]:
    """Compare one kernel from the factors with building both embeddings and multiplying them, 9 classes."""
    rows, exemplars = data(case.n, case.q, case.d)
    generator = np.random.default_rng(1)
    logits = generator.standard_normal((case.n + case.q, 9), dtype=np.float32)
    residuals = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    residuals[np.arange(len(residuals)), residuals.argmax(axis=1)] -= 1
    pool, query = Embedding(rows, residuals[: case.n]), Embedding(exemplars, residuals[case.n :])
    warm_up()

    def factorised() -> NDArray[np.float32]:
        with Workers() as workers:
            left, right = (
                Directions(pool, "pool", workers, deferred=True),
                Directions(query, "query", workers),
            )
            found = cross(left, right, Map.of(Similarity.RESCALED), workers).kernel
        assert found is not None
        return found

    def built() -> NDArray[np.float32]:
        left, right = (_built(each) for each in (pool, query))
        return np.asarray((left @ right.T + 1) / 2)

    before = reset_peak()
    quick = statistics.median(_seconds(factorised) for _ in range(case.repeats))
    peak = peak_memory() - before
    before = reset_peak()
    slow = statistics.median(_seconds(built) for _ in range(max(1, case.repeats // 2)))
    return {
        "total": quick,
        "built": slow,
        "difference": float(np.abs(factorised() - built()).max()),
        "peak_mb": peak / 2**20,
        "built_peak_mb": (peak_memory() - before) / 2**20,
    }


def _built(embedding: Embedding) -> NDArray[np.float32]:
    """Return the unit gradients as DISTIL builds them, n × C(d + 1)."""
    residuals = embedding.residuals
    assert residuals is not None
    outer = (residuals[:, :, None] * embedding.features[:, None, :]).reshape(len(residuals), -1)
    gradients = np.concatenate([residuals, outer], axis=1)
    return np.asarray(gradients / np.linalg.norm(gradients, axis=1, keepdims=True))


def _timed_stages(module: Any) -> list[float]:  # noqa: ANN401 - a module
    """Time the stages of a function that make the kernel; return the list that fills with seconds."""
    seconds: list[float] = []

    def timed(stage: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: object, **options: object) -> Any:  # noqa: ANN401
            started = time.perf_counter()
            try:
                return stage(*arguments, **options)
            finally:
                seconds.append(time.perf_counter() - started)

        return run

    for name in ("Directions", "cross"):
        if hasattr(module, name):
            setattr(module, name, timed(getattr(module, name)))
    return seconds


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def reset_peak() -> int:
    """Start a new high-water mark; return the memory in use now, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak_memory() -> int:
    """Return the high-water mark of this process's memory, in bytes."""
    return _status("VmHWM")


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


if __name__ == "__main__":
    main(sys.argv[1])
