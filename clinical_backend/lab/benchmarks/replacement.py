"""How often labels keep a backbone from taking the place of another, on real images.

``clinical bench replacement``
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
from clinical_backend.strategy.feature_comparison import compare_features
from clinical_backend.strategy.tasks import FeaturedTasks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from clinical_backend.learner.evaluation.comparison import Comparison

__all__ = ["main", "replacements"]

_CACHE = Path(".cache/experiments")
_SETS = ("ham10000", "bloodmnist", "chest_xray_128")
_BACKBONES = ("efficientnet_lite0", "efficientnet_lite")
_RUNS = 50
_RARE = (5, 10, 20)
_TIMES = 6
"""So many other labels for each rare one: a queue that finds one in seven."""
_LEFT = 8
"""Of 1,280 values: what is left of a backbone that lost nearly all."""


def main() -> None:
    """Measure and print the table: refusals, and by how much the average precision changes, with its standard error."""
    console = Console()
    table = Table(title=f"Refused of {_RUNS} draws, and the mean change of average precision with its standard error")
    for heading in ("images", "rare labels", "change", "refused", "average precision"):
        table.add_column(heading, justify="right")
    for name in _SETS:
        data = load_images(name, cache=_CACHE)
        smaller, larger = (
            np.load(
                features_of_set(
                    data, load_backbone(one, folder=_CACHE / "backbones"), _CACHE / "features", lambda *_: None
                )
            )
            for one in _BACKBONES
        )
        for count in _RARE:
            seeds = track(range(_RUNS), f"{name}, {count}", console=console)
            drawn = [dict(replacements(smaller, larger, data.labels, data.classes, count, seed)) for seed in seeds]
            for change in drawn[0]:
                found = [each[change] for each in drawn]
                gains = np.array([one.candidate - one.published for one in found])
                gain = f"{gains.mean():+.3f} ± {gains.std(ddof=1) / np.sqrt(len(gains)):.3f}"
                table.add_row(name, str(count), change, str(sum(one.worse for one in found)), gain)
    console.print(table)


def replacements(
    smaller: NDArray[np.float32],
    larger: NDArray[np.float32],
    labels: NDArray[np.int64],
    classes: tuple[str, ...],
    rare: int,
    seed: int,
) -> Iterator[tuple[str, Comparison]]:
    """Label a draw of a set, and yield what its labels say of each change of the backbone.

    Parameters
    ----------
    smaller, larger
        Features of the set by two backbones, shape (n, d) each.
    labels, classes
        Class indices, shape (n,), and the names of the classes; that of the fewest images is looked for.
    rare
        So many rare labels are drawn, and six times as many others.
    seed
        Of the draw.
    """
    sought = int(np.bincount(labels).argmin())
    generator = np.random.default_rng([seed, rare])
    cases = generator.permutation(np.flatnonzero(labels == sought))[:rare]
    others = generator.permutation(np.flatnonzero(labels != sought))[: _TIMES * rare]
    chosen = np.sort(np.concatenate([cases, others]))
    mixed = generator.permutation(chosen)
    given = {int(task): classes[labels[task]] for task in chosen}
    small, large, mixed_up, left = (
        FeaturedTasks(chosen, np.ascontiguousarray(rows))
        for rows in (smaller[chosen], larger[chosen], larger[mixed], larger[chosen][:, :_LEFT])
    )
    for change, published, candidate in (
        ("to the larger", small, large),
        ("to the smaller", large, small),
        ("to images in mixed order", large, mixed_up),
        (f"to {_LEFT} values", large, left),
    ):
        found = compare_features(candidate, published, given, classes, (classes[sought],), seed=0).found
        assert found is not None
        yield change, found
