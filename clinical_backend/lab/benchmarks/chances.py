"""Whether the chances of a queue come true, beside the scores that they were learnt from, on real images.

``clinical bench chances``
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from clinical_backend.findings.chance import Judged, calibrate
from clinical_backend.findings.remaining import RoundYield, remaining
from clinical_backend.lab.experiments.datasets import load_images
from clinical_backend.lab.experiments.features import features_of_set
from clinical_backend.lab.experiments.learners import FixedFeatures
from clinical_backend.lab.experiments.protocol import PROTOCOLS, draw
from clinical_backend.lab.experiments.simulation import simulate
from clinical_backend.lab.experiments.strategies import LIVE
from clinical_backend.learner.backbones.loading import load_backbone
from clinical_backend.origins import Draw

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clinical_backend.findings.interval import Interval
    from clinical_backend.lab.experiments.strategies import Situation
    from clinical_backend.strategy.tasks import RankedTask

__all__ = ["Stated", "Witness", "main"]

_CACHE = Path(".cache/experiments")
_PROJECTS = {
    "blood cells": ("blood", "blood-1%", "blood-5%", "blood-one"),
    "chest X-rays": ("chest", "chest-1%", "chest-5%", "chest-one", "chest-cold"),
}
_AUDIT_SHARE = 0.1  # the default of AUDIT_SHARE
_EDGES = (0.0, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)  # of the stated chances, finer where most of them are


@dataclass(frozen=True, slots=True)
class Stated:
    """A task of a queue: what was said of it, and the truth."""

    score: float
    chance: Interval
    rare: bool


class Witness:
    """Calibrates every queue of a simulated project as the live round does, and notes what was said.

    Parameters
    ----------
    is_rare
        Of each image of the set.
    """

    def __init__(self, is_rare: Sequence[bool]) -> None:
        self._is_rare = is_rare
        self._scores: list[float] = []
        self._rare: list[bool] = []
        self._queues: list[tuple[int, int, int, int]] = []
        self.stated: list[Stated] = []

    def __call__(self, situation: Situation, ranked: Sequence[RankedTask]) -> None:
        """Look at a queue before it is labelled, then at its labels."""
        pool = situation.inputs.pool
        scores = situation.fitted.rare_probability_in(pool)
        if scores is not None:
            judged = Judged(np.array(self._scores), np.array(self._rare, dtype=bool))
            calibration = calibrate(scores, remaining(len(pool), self._yields(len(pool))), judged)
            score_of = dict(zip(pool.tasks.tolist(), scores.tolist(), strict=True))
            sought = [task.task_id for task in ranked if task.draw is not Draw.AUDIT]
            if calibration is not None:
                chances = calibration.chances([score_of[task] for task in sought])
                for task, chance in zip(sought, chances, strict=True):
                    self.stated.append(Stated(score_of[task], chance, bool(self._is_rare[task])))
            self._scores += [score_of[task] for task in sought]
            self._rare += [bool(self._is_rare[task]) for task in sought]
        rare = [bool(self._is_rare[task.task_id]) for task in ranked]
        drawn = [task.draw is Draw.AUDIT for task in ranked]
        both = sum(one and other for one, other in zip(rare, drawn, strict=True))
        self._queues.append((sum(drawn), both, len(ranked), sum(rare)))

    def _yields(self, pool: int) -> list[RoundYield]:
        yields, labels, found = [], 0, 0
        for drawn, drawn_rare, size, rare in reversed(self._queues):
            labels, found = labels + size, found + rare
            yields.append(RoundYield(pool + labels, drawn, drawn_rare, size, rare, labels, found))
        return yields


def main() -> None:
    """Simulate and print the tables."""
    console = Console(width=150)
    backbone = load_backbone(folder=_CACHE / "backbones", device="auto")
    for title, names in _PROJECTS.items():
        witnesses: list[Witness] = []
        for name in track(names, title, console=console):
            protocol = replace(PROTOCOLS[name], audit_share=_AUDIT_SHARE)
            data = load_images(protocol.dataset, cache=_CACHE)
            features = np.load(features_of_set(data, backbone, _CACHE / "features", lambda *_: None))
            seed = len(witnesses)
            drawn = draw(protocol, data, seed)
            codes = [data.classes.index(one) for one in drawn.rare_classes]
            witness = Witness(np.isin(data.labels, codes).tolist())
            simulate(protocol, drawn, data, FixedFeatures(features), LIVE, seed=seed, witness=witness)
            witnesses.append(witness)
        stated = [one for witness in witnesses for one in witness.stated]
        console.print(_table(f"{title}: {len(witnesses)} projects, {len(stated)} tasks queued with a chance", stated))


def _table(title: str, stated: Sequence[Stated]) -> Table:
    table = Table(title=title)
    for heading in (
        "stated",
        "tasks by score",
        "mean score",
        "rare",
        "tasks by chance",
        "mean chance",
        "its interval",
        "rare",
    ):
        table.add_column(heading, justify="right")
    for low, high in pairwise(_EDGES):
        by_score = [one for one in stated if low <= one.score < high]
        by_chance = [one for one in stated if low <= (one.chance.estimate or 0.0) < high]
        table.add_row(f"{low:.0%} to {high:.0%}", *_row(by_score, score=True), *_row(by_chance, score=False))
    return table


def _row(stated: Sequence[Stated], *, score: bool) -> list[str]:
    if not stated:
        return ["0", "–", "–"] if score else ["0", "–", "–", "–"]

    def mean(values: Sequence[float]) -> str:
        return f"{np.mean(values):.1%}"

    rare = mean([one.rare for one in stated])
    if score:
        return [str(len(stated)), mean([one.score for one in stated]), rare]
    ends = [mean([getattr(one.chance, end) for one in stated]) for end in ("low", "high")]
    return [str(len(stated)), mean([one.chance.estimate or 0.0 for one in stated]), " to ".join(ends), rare]
