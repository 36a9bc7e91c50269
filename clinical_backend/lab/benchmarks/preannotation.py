"""How often a ticked class is right, and how many rare cases come with a wrong one, on blood cells and chest X-rays.

``clinical bench preannotation``
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table

from clinical_backend.lab.experiments.datasets import load_images
from clinical_backend.lab.experiments.features import features_of_set
from clinical_backend.lab.experiments.protocol import PROTOCOLS, draw
from clinical_backend.learner.backbones.loading import load_backbone
from clinical_backend.origins import Draw
from clinical_backend.settings import load_settings
from clinical_backend.strategy.fit import fit
from clinical_backend.strategy.order import rank
from clinical_backend.strategy.preannotation import confidence, preannotations
from clinical_backend.strategy.target import find_target
from clinical_backend.strategy.tasks import FeaturedTasks, Inputs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from clinical_backend.lab.experiments.datasets import LabelledImages
    from clinical_backend.project_settings import Preannotate

__all__ = ["Served", "main", "serve"]

_CACHE = Path(".cache/experiments")
_SEEDS = 3  # as docs/preannotation.md reports
_MODES: tuple[Preannotate, ...] = ("all", "confident")


@dataclass
class Served:
    """Of the tasks that readers were served: how many, and what was ticked.

    Attributes
    ----------
    tasks, rare
        All of them, and the rare cases among them.
    ticked, right
        Those with a class ticked, and those with the right one.
    misled
        Rare cases with a class ticked that is not theirs.
    """

    tasks: int = 0
    rare: int = 0
    ticked: int = 0
    right: int = 0
    misled: int = 0

    def add(self, other: Served) -> None:
        """Count what another project served."""
        for item in fields(self):
            setattr(self, item.name, getattr(self, item.name) + getattr(other, item.name))


def main() -> None:
    """Measure and print the table."""
    console = Console()
    table = Table(title=f"Classes ticked below the image; {_SEEDS} projects of each kind")
    for heading in ("images", "PREANNOTATE", "served", "ticked", "right", "rare served", "with a wrong class"):
        table.add_column(heading, justify="right")
    backbone = load_backbone(folder=_CACHE / "backbones", device="auto")
    for name in ("blood", "chest"):
        data = load_images(PROTOCOLS[name].dataset, cache=_CACHE)
        features = np.load(features_of_set(data, backbone, _CACHE / "features", lambda *_: None))
        sums = {mode: Served() for mode in _MODES}
        for seed in range(_SEEDS):
            for mode, served in serve(name, data, features, seed).items():
                sums[mode].add(served)
        for mode, sum_ in sums.items():
            share = f"{sum_.right / sum_.ticked:.0%}" if sum_.ticked else "-"
            table.add_row(name, mode, *map(str, (sum_.tasks, sum_.ticked, share, sum_.rare, sum_.misled)))
    console.print(table)


def serve(
    name: str, data: LabelledImages, features: NDArray[np.float32], seed: int, *, pool: int = 3000, labels: int = 500
) -> dict[Preannotate, Served]:
    """Serve a simulated project's queues to a reader whom no tick leads, and count what would have been ticked.

    Parameters
    ----------
    name
        Of the protocol: what is rare, and how rare it is.
    features
        Of the whole set.
    seed
        Of the draw.
    pool, labels
        Images of the project at the start, and labels given in the end.
    """
    settings = load_settings(seed=seed, queue_size=25, audit_share=0.1, label_studio_api_key="none")
    drawn = draw(PROTOCOLS[name], data, seed)
    kept = _indices(dict.fromkeys([*drawn.exemplars.tolist(), *drawn.pool.tolist()[:pool]]))
    truth = {int(task): data.classes[data.labels[task]] for task in kept}
    given = {int(task): truth[int(task)] for task in drawn.exemplars}
    targeted: list[int] = []
    found = {mode: Served() for mode in _MODES}
    for number in count(1):
        if len(given) >= labels:
            return found
        target = find_target(given, drawn.exemplars.tolist(), (), (), data.classes, targeted=targeted)
        waiting, query, labelled = (
            FeaturedTasks(tasks, features[tasks])
            for tasks in (
                _indices(task for task in truth if task not in given),
                _indices(target.query),
                _indices(given),
            )
        )
        inputs = Inputs.of(labelled, waiting, query)
        fitted = fit(inputs, given, data.classes, target, seed=seed)
        _, ranked = rank(settings, inputs, target, fitted, round_number=number)
        sure = confidence(fitted.held_out, inputs, ranked, given, evidence=given, target=target.classes)
        for mode in _MODES:
            ticked = preannotations(mode, ranked, sure.tasks, data.classes)
            rare = [task.task_id for task in ranked if truth[task.task_id] in drawn.rare_classes]
            right = sum(truth[task] == class_name for task, class_name in ticked.items())
            misled = sum(task in ticked and ticked[task] != truth[task] for task in rare)
            found[mode].add(Served(len(ranked), len(rare), len(ticked), right, misled))
        given |= {task.task_id: truth[task.task_id] for task in ranked}
        targeted += [task.task_id for task in ranked if task.draw is Draw.TARGET]
    raise AssertionError


def _indices(tasks: Iterable[int]) -> NDArray[np.int64]:
    return np.asarray(list(tasks), dtype=np.int64)
