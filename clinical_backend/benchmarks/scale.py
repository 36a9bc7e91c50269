"""The partitioned greedy beside the whole, each case in a fresh process: ``clinical bench scale``."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from clinical_backend.benchmarks.scale_case import Case, write_data
from clinical_backend.distributed.objective import PARTITIONED
from clinical_backend.errors import ClinicalError
from clinical_backend.learner.backbones import available_cpus

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["cases", "main"]

_SHARDS = (2, 4)
_EXEMPLARS = 50
_COLUMNS = {
    "exemplars": "exemplars",
    "function": "function",
    "where": "where",
    "seconds": "seconds",
    "slowest": "slowest shard's kernel",
    "merge": "rounds and merge",
    "rounds": "rounds",
    "candidates": "candidates of a shard",
    "moved_mb": "MB moved",
    "peak_mb": "peak MB of one, beyond its features",
    "same": "picks as whole",
}


def main(n: int, d: int, *, ray: bool) -> None:
    """Measure and print the table.

    Parameters
    ----------
    n, d
        Points of the pool, and length of a feature.
    ray
        Whether to measure on a Ray of two CPUs on this machine too.
    """
    title = f"{n:,} × {d}, {_EXEMPLARS} exemplars, B = 100; {available_cpus()} CPUs"
    table = Table(*_COLUMNS.values(), title=title)
    with tempfile.TemporaryDirectory(prefix="clinical-scale-") as folder:
        write_data(Path(folder), n, d, _EXEMPLARS)
        whole: list[int] = []
        for case in cases(n, d, folder, ray=ray):
            result = _measure(case)
            if case.engine == "whole":
                whole = result["picks"]
            result["where"] = case.engine if case.engine == "whole" else f"{case.shards} {case.engine}"
            result["same"] = "yes" if result["picks"] == whole else "no"
            table.add_row(*(_shown(result.get(key, "")) for key in _COLUMNS))
    Console(width=200 if not sys.stdout.isatty() else None).print(table)


def cases(n: int, d: int, folder: str, *, ray: bool) -> Iterator[Case]:
    """Yield what is measured: the whole first, then its parts."""
    for exemplars in ("alike", "mixed"):
        for function in PARTITIONED:
            yield Case(function, exemplars, "whole", 1, n, d, folder)
            for engine in ("shards", "ray") if ray else ("shards",):
                for shards in _SHARDS:
                    yield Case(function, exemplars, engine, shards, n, d, folder)


def _measure(case: Case) -> dict[str, Any]:
    command = [sys.executable, "-m", "clinical_backend.benchmarks.scale_case", json.dumps(asdict(case))]
    run = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if run.returncode != 0:
        last = (run.stderr.strip().splitlines() or [f"exit {run.returncode}"])[-1]
        raise ClinicalError(f"The case {case} failed: {last[:200]}.", "Try with fewer points, or without --ray.")
    return dict(json.loads(run.stdout.splitlines()[-1]))


def _shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
