"""Seconds of a round's own work, features cached: the check of adapted features, fit, and rank.

``clinical bench round``
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table

from clinical_backend.learner.backbones.base import available_cpus
from clinical_backend.settings import load_settings
from clinical_backend.strategy.fit import fit
from clinical_backend.strategy.order import rank
from clinical_backend.strategy.representation import choose_representation
from clinical_backend.strategy.target import find_target
from clinical_backend.strategy.tasks import FeaturedTasks, Inputs
from clinical_backend.workspace.features import join

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["main"]

_POOLS = (1000, 10_000, 50_000)
_LABELS = 300
_CLASSES = tuple(f"class {code}" for code in range(8))
_FROZEN, _ADAPTED = 1280, 128
_REPEATS = 5
"""Widths of EfficientNet-Lite0's features and of an adapted network's. The median is of so many runs."""


def main() -> None:
    """Measure and print the table."""
    table = Table(title=f"Seconds, median of {_REPEATS}; {_LABELS} labels of 8 classes; {available_cpus()} CPUs")
    for heading in ("tasks", "check of adapted features", "fit", "rank", "together"):
        table.add_column(heading, justify="right")
    for size in _POOLS:
        stages = np.array([_measure(size, seed) for seed in range(_REPEATS)])
        cells = [statistics.median(column) for column in [*stages.T, stages.sum(axis=1)]]
        table.add_row(f"{size:,}", *(f"{cell:.2f}" for cell in cells))
    Console().print(table)


def _measure(size: int, seed: int) -> tuple[float, float, float]:
    """Return the seconds of check, fit and rank of one round on clustered points."""
    generator = np.random.default_rng(seed)
    codes = generator.choice(8, size + _LABELS, p=[0.01, 0.01, *[0.98 / 6] * 6])
    codes[:60] = generator.integers(0, 2, 60)
    frozen, adapted = (_points(codes, dimension, generator) for dimension in (_FROZEN, _ADAPTED))
    joined, parts = join(frozen, adapted), (_FROZEN, _ADAPTED)
    tasks = np.arange(len(codes))
    labels = {int(task): _CLASSES[codes[task]] for task in tasks[:_LABELS]}
    target = find_target(labels, list(range(5)), (), (), _CLASSES)
    settings = load_settings(label_studio_api_key="none")
    query = np.asarray(target.query)

    def inputs_of(features: NDArray[np.float32], parts: tuple[int, ...] = ()) -> Inputs:
        labelled, pool, sought = (
            FeaturedTasks(chosen, features[chosen], parts) for chosen in (tasks[:_LABELS], tasks[_LABELS:], query)
        )
        return Inputs.of(labelled, pool, sought)

    alone, together = inputs_of(frozen), inputs_of(joined, parts)
    started = time.perf_counter()
    inputs, _ = choose_representation(alone, together, seed=seed)
    checked = time.perf_counter()
    fitted = fit(inputs, labels, _CLASSES, target, seed=seed)
    fit_ended = time.perf_counter()
    rank(settings, inputs, target, fitted, round_number=1)
    return checked - started, fit_ended - checked, time.perf_counter() - fit_ended


def _points(codes: NDArray[np.int64], dimension: int, generator: np.random.Generator) -> NDArray[np.float32]:
    centres = generator.normal(size=(8, dimension)).astype(np.float32)
    noise = generator.standard_normal((len(codes), dimension), dtype=np.float32)
    return centres[codes] + 3.0 * noise
