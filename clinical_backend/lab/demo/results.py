"""What the demonstration shows at its end: a table and a plot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from clinical_backend.lab.plotting import pyplot

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["expected_by_random", "make_table", "save_plot"]


def expected_by_random(labels: int, pool: int, rare: int) -> float:
    """Return how many rare cases random order finds on average within so many labels."""
    return labels * rare / pool


def make_table(found: Sequence[Sequence[int]], pool: int, rare: int) -> Table:
    """Return found against expected at every tenth label; with several repeats the mean and its spread.

    Parameters
    ----------
    found
        Rare cases met after each label, one row per repeat.
    pool, rare
        Tasks to read, and how many of them are rare.
    """
    table = Table(title=f"Rare cases met ({rare} among {pool} tasks, {len(found)} run{'s' * (len(found) > 1)})")
    for heading in ("labels", "this backend", "random order, expected", "times better"):
        table.add_column(heading, justify="right")
    rows = np.array(found)
    for labels in range(10, rows.shape[1] + 1, 10):
        met, expected = rows[:, labels - 1], expected_by_random(labels, pool, rare)
        shown = f"{met.mean():.1f} ({met.min()} to {met.max()})" if len(met) > 1 else str(met[0])
        table.add_row(str(labels), shown, f"{expected:.1f}", f"{met.mean() / expected:.1f} ×")
    return table


def save_plot(found: Sequence[Sequence[int]], pool: int, rare: int, origin: str, path: Path) -> None:
    """Draw found against labels, with what random order finds and the middle 95 % of its luck."""
    plt = pyplot()
    rows = np.array([[0, *row] for row in found])
    labels = np.arange(rows.shape[1])
    generator = np.random.default_rng(0)
    order = generator.permuted(np.tile(np.arange(pool) < rare, (2000, 1)), axis=1)[:, : rows.shape[1] - 1]
    luck = np.concatenate([np.zeros((2000, 1)), order.cumsum(axis=1)], axis=1)
    low, high = np.quantile(luck, [0.025, 0.975], axis=0)
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    axes.fill_between(labels, low, high, color="#b0b7c3", alpha=0.4, label="random order, 95 % of draws")
    axes.plot(labels, labels * rare / pool, color="#6b7280", linestyle="--", label="random order, expected")
    if len(rows) > 1:
        for row in rows:
            axes.step(labels, row, color="#0f766e", linewidth=0.8, alpha=0.4, where="post")
    named = "this backend" if len(rows) == 1 else f"this backend, mean of {len(rows)} runs"
    axes.step(labels, rows.mean(axis=0), color="#0f766e", linewidth=2.2, where="post", label=named)
    axes.set(xlabel="labels", ylabel="rare cases met", title=f"{rare} rare among {pool} tasks, {origin}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.yaxis.get_major_locator().set_params(integer=True)  # a case is met or not
    figure.legend(frameon=False, loc="outside lower center", ncols=3, fontsize=8)  # it covers no curve
    figure.savefig(path, dpi=150)
    plt.close(figure)
