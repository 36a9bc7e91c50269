"""How high missed findings stand in the list of labels that deserve a second look, on blood cells.

``clinical bench second-look``
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from clinical_backend.lab.experiments.datasets import load_images
from clinical_backend.lab.experiments.features import features_of_set
from clinical_backend.learner.backbones.loading import load_backbone
from clinical_backend.strategy.fit import fit
from clinical_backend.strategy.suspects import find_suspects
from clinical_backend.strategy.target import find_target
from clinical_backend.strategy.tasks import FeaturedTasks, Inputs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["main", "times_base_rate"]

_CACHE = Path(".cache/experiments")
_RUNS = 24
_COMMON, _RARE, _POOL = 500, 60, 2000
_EXEMPLARS = 5
_FLIPPED = 0.05
_MISSED = 0.3
_TOP = 0.05
"""Labels of a project after some rounds. A reader errs at random in 5 %, and misses 30 % of the rare, which is the hard
case; the top 5 % are as many as were flipped."""


def main() -> None:
    """Measure and print the table."""
    console = Console()
    data = load_images("bloodmnist", cache=_CACHE)
    backbone = load_backbone(folder=_CACHE / "backbones", device="auto")
    features = np.load(features_of_set(data, backbone, _CACHE / "features", lambda *_: None))
    counts = np.bincount(data.labels)
    rare = [data.classes[code] for code in np.argsort(counts)[:2]]
    table = Table(title=f"Missed findings in the top {_TOP:.0%} of Second look, times their base rate; {_RUNS} runs")
    for heading in ("labels that are wrong", "runs with missed findings", "mean", "least", "most"):
        table.add_column(heading, justify="right")
    for name, missed in ((f"{_FLIPPED:.0%}", 0.0), (f"{_FLIPPED:.0%}, and {_MISSED:.0%} of the rare", _MISSED)):
        seeds = track(range(_RUNS), name, console=console)
        found = [times_base_rate(features, data.labels, data.classes, rare, seed, missed) for seed in seeds]
        known = [times for times in found if times is not None]
        table.add_row(name, f"{len(known)}", f"{np.mean(known):.1f}", f"{min(known):.1f}", f"{max(known):.1f}")
    console.print(table)


def times_base_rate(
    features: NDArray[np.float32],
    truth: NDArray[np.int64],
    classes: tuple[str, ...],
    rare: Sequence[str],
    seed: int,
    missed: float,
) -> float | None:
    """Label a draw of a set with errors, and return how much more frequent missed findings are at the list's top.

    ``None`` where the draw has none.

    Parameters
    ----------
    features, truth
        Of the set, shapes (n, d) and (n,).
    classes, rare
        All classes, and those that are sought.
    seed
        Of the draw.
    missed
        Share of the rare cases that are called common, beside those labels of any class that are flipped.
    """
    generator = np.random.default_rng(seed)
    is_rare = np.isin(truth, [classes.index(name) for name in rare])
    cases = generator.permutation(np.flatnonzero(is_rare))
    others = generator.permutation(np.flatnonzero(~is_rare))
    labelled = np.concatenate([cases[:_RARE], others[:_COMMON]])
    pool = np.concatenate([cases[_RARE : _RARE + _POOL // 50], others[_COMMON : _COMMON + _POOL]])
    given = truth.copy()
    wrong = labelled[_EXEMPLARS:][generator.random(len(labelled) - _EXEMPLARS) < _FLIPPED]
    given[wrong] = (truth[wrong] + generator.integers(1, len(classes), len(wrong))) % len(classes)
    overlooked = cases[_EXEMPLARS:_RARE][generator.random(_RARE - _EXEMPLARS) < missed]
    given[overlooked] = generator.choice(truth[others], len(overlooked))
    named = {int(task): classes[given[task]] for task in labelled}
    target = find_target(named, cases[:_EXEMPLARS].tolist(), (), (), classes)
    query = np.asarray(target.query, dtype=np.int64)
    known, waiting, sought = (FeaturedTasks(tasks, features[tasks]) for tasks in (labelled, pool, query))
    inputs = Inputs.of(known, waiting, sought)
    fitted = fit(inputs, named, classes, target, seed=seed)
    suspects = [row.task_id for row in find_suspects(inputs, fitted, rare, floored=False)]
    common = [task for task, name in named.items() if name not in rare]
    base = is_rare[common].mean()
    return float(is_rare[suspects[: round(_TOP * len(common))]].mean() / base) if base else None
