"""Seconds of a round's own work, features cached: the check of adapted features, fit, and rank.

``clinical bench round``; ``clinical bench round --tasks 1000000 --frozen --repeats 1``
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, cast

import numpy as np
from rich.console import Console
from rich.table import Table

from clinical_backend.lab.benchmarks.smi_case import peak_memory, reset_peak
from clinical_backend.learner.backbones.base import available_cpus
from clinical_backend.settings import load_settings
from clinical_backend.strategy.fit import fit
from clinical_backend.strategy.order import rank
from clinical_backend.strategy.representation import choose_representation
from clinical_backend.strategy.target import find_target
from clinical_backend.strategy.tasks import FeaturedTasks, Inputs
from clinical_backend.workspace.features import HELD_WHOLE, join

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from clinical_backend.strategy.target import Target

__all__ = ["ADAPTED", "CLASSES", "FROZEN", "LABELS", "draw_classes", "main"]

LABELS = 300
"""Before a round."""
CLASSES = tuple(f"class {code}" for code in range(8))
"""Of a project; the first two are rare."""
FROZEN, ADAPTED = 1280, 128
"""Widths of the default backbone's features and of an adapted network's."""

_BLOCK = 16_384
"""Points made at once, so that a million fit into memory."""


def main(pools: Sequence[int], repeats: int, *, frozen: bool) -> None:
    """Measure and print the table.

    Parameters
    ----------
    pools
        Numbers of tasks.
    repeats
        The median is of so many runs, each on other points.
    frozen
        Whether there is no adapted network.
    """
    table = Table(
        title=f"Seconds, median of {repeats}; {LABELS} labels of 8 classes; {available_cpus()} CPUs",
        caption="In brackets that of a project's first round, which learns how its images vary.",
    )
    for heading in ("tasks", "check of adapted features", "fit", "rank", "together", "peak GB"):
        table.add_column(heading, justify="right")
    for size in pools:
        reset_peak()
        runs = [_measure(size, seed, frozen=frozen) for seed in range(repeats)]
        first, later = (np.array(stages) for stages in zip(*runs, strict=True))
        medians = ([statistics.median(each) for each in [*part.T, part.sum(axis=1)]] for part in (later, first))
        cells = (f"{cell:.2f} ({cold:.2f})" for cell, cold in zip(*medians, strict=True))
        table.add_row(f"{size:,}", *cells, f"{peak_memory() / 2**30:.2f}")
    Console().print(table)


def draw_classes(tasks: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Return the class of each task by its place among all, shape (n,); of the first labels a fifth are rare."""
    codes = generator.choice(len(CLASSES), tasks, p=[0.01, 0.01, *[0.98 / 6] * 6])
    sought = codes[: LABELS // 5]
    sought[:] = generator.integers(0, 2, len(sought))
    return codes


def _measure(size: int, seed: int, *, frozen: bool) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the seconds of check, fit and rank of a first and of a later round on clustered points."""
    generator = np.random.default_rng(seed)
    codes = draw_classes(size + LABELS, generator)
    tasks = np.arange(len(codes))
    labels = {int(task): CLASSES[codes[task]] for task in tasks[:LABELS]}
    target = find_target(labels, list(range(5)), (), (), CLASSES)
    query = np.asarray(target.query)

    def inputs_of(features: NDArray[np.float32], parts: tuple[int, ...] = ()) -> Inputs:
        labelled, pool, sought = (
            FeaturedTasks(tasks[chosen], features[chosen], parts)
            for chosen in (slice(LABELS), slice(LABELS, None), query)
        )
        return Inputs.of(labelled, pool, sought)

    alone = inputs_of(_points(codes, (FROZEN,), generator))
    together = None
    if not frozen:
        together = inputs_of(_points(codes, (FROZEN, ADAPTED), generator), (FROZEN, ADAPTED))
    first, later = (_round(alone, together, labels, target, seed) for _ in range(2))
    return first, later


def _round(
    alone: Inputs, together: Inputs | None, labels: dict[int, str], target: Target, seed: int
) -> tuple[float, ...]:
    settings = load_settings(label_studio_api_key="none")
    started = time.perf_counter()
    inputs = alone if together is None else choose_representation(alone, together, seed=seed)[0]
    checked = time.perf_counter()
    fitted = fit(inputs, labels, CLASSES, target, seed=seed)
    fit_ended = time.perf_counter()
    rank(settings, inputs, target, fitted, round_number=1)
    return checked - started, fit_ended - checked, time.perf_counter() - fit_ended


def _points(
    codes: NDArray[np.int64], dimensions: tuple[int, ...], generator: np.random.Generator
) -> NDArray[np.float32]:
    """Return points of one feature or of two joined ones, held as a round holds those of so many tasks."""
    centres = [generator.normal(size=(8, dimension)).astype(np.float32) for dimension in dimensions]
    rows = np.empty((len(codes), sum(dimensions)), dtype=np.float32 if len(codes) <= HELD_WHOLE else np.float16)
    for start in range(0, len(rows), _BLOCK):
        block = codes[start : start + _BLOCK]
        parts = [
            each[block] + 3 * generator.standard_normal((len(block), each.shape[1]), dtype=np.float32)
            for each in centres
        ]
        rows[start : start + _BLOCK] = parts[0] if len(parts) == 1 else join(*parts)
    return cast("NDArray[np.float32]", rows)
