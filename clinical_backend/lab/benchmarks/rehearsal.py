"""Whether a rehearsal on what a project labelled tells what other settings find in all of it.

``clinical bench rehearsal``
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from clinical_backend.errors import InvalidArgumentError
from clinical_backend.findings.weights import DrawnRound, SampledLabels
from clinical_backend.lab.experiments.datasets import LabelledImages, load_images
from clinical_backend.lab.experiments.features import features_of_set
from clinical_backend.lab.experiments.learners import FixedFeatures
from clinical_backend.lab.experiments.protocol import PROTOCOLS, draw
from clinical_backend.lab.experiments.simulation import simulate
from clinical_backend.lab.experiments.strategies import LIVE
from clinical_backend.lab.experiments.summary import standard_error
from clinical_backend.lab.rehearsal.rehearsal_pools import KINDS, RehearsalPools
from clinical_backend.lab.rehearsal.replay import Replay, Trial
from clinical_backend.learner.backbones.loading import load_backbone
from clinical_backend.origins import Draw
from clinical_backend.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from clinical_backend.lab.experiments.simulation import Outcome
    from clinical_backend.lab.experiments.strategies import Situation
    from clinical_backend.lab.rehearsal.rehearsal_pools import Kind
    from clinical_backend.strategy.tasks import RankedTask

__all__ = ["Ledger", "main"]

_CACHE = Path(".cache/experiments")
_PROJECTS = {"blood cells": "blood-named", "skin": "skin"}
_CHANGES: dict[str, Any] = {"rare_share": 0.04, "pool": 1000, "exemplars": 3, "labels": 100, "batch": 20, "named": True}
"""A small pool with many rare cases: a row takes minutes, and what is found is not one or two."""
_AUDIT_SHARE = 0.2
"""Of the 100 labels as many random draws as weights need."""
_REPEATS = 2
_SECONDS = 3600.0


class Ledger:
    """Notes of a simulated project how each label came about."""

    def __init__(self) -> None:
        self.entered: dict[int, tuple[int, Draw]] = {}
        self._pools: list[int] = []

    def __call__(self, situation: Situation, ranked: Sequence[RankedTask]) -> None:
        """Enter what is labelled next."""
        self._pools.append(len(situation.inputs.pool))
        self.entered |= {task.task_id: (len(self._pools), task.draw) for task in ranked}

    def sample(self, tasks: NDArray[np.int64]) -> SampledLabels:
        """Return labelled tasks as a sample of all."""
        entries = [self.entered.get(task, (0, None)) for task in tasks.tolist()]
        entered = np.array([number for number, _ in entries], dtype=np.int64)
        drawn = np.array([reason is Draw.AUDIT for _, reason in entries], dtype=np.bool_)
        counts = np.bincount(entered[drawn], minlength=len(self._pools) + 1).tolist()
        rounds = [
            DrawnRound(number, pool, counts[number]) for number, pool in enumerate(self._pools, 1) if counts[number]
        ]
        return SampledLabels(entered, drawn, rounds)


@dataclass(frozen=True, slots=True)
class _Compared:
    """What a trial finds beside the project's own settings, as a share of the rare cases: predicted, and true."""

    predicted: float
    true: float


def main(seeds: int = 3, cache: Path = _CACHE) -> None:
    """Simulate projects, rehearse on what they labelled, and print how far that is from the truth."""
    console = Console(width=150)
    backbone = load_backbone(folder=cache / "backbones", device="auto")
    for title, name in _PROJECTS.items():
        compared: dict[tuple[str, Kind], list[_Compared]] = defaultdict(list)
        protocol = replace(PROTOCOLS[name], **_CHANGES)
        data = load_images(protocol.dataset, cache=cache)
        features = np.load(features_of_set(data, backbone, cache / "features", lambda *_: None))
        for seed in track(range(seeds), title, console=console):
            drawn = draw(protocol, data, seed)
            tasks = LabelledImages(
                data.name,
                data.classes,
                [b""] * len(drawn.pool),
                data.labels[drawn.pool],
                np.zeros(len(drawn.pool), dtype=np.bool_),
            )
            for (trial, kind), one in _compare(tasks, features[drawn.pool], drawn.rare_classes, seed).items():
                compared[trial, kind].append(one)
        console.print(_table(f"{title}: {seeds} projects", compared))


def _compare(
    tasks: LabelledImages, features: NDArray[np.float32], rare: tuple[str, ...], seed: int
) -> dict[tuple[str, Kind], _Compared]:
    """Simulate a project on these tasks, and compare what rehearsals on it say with what all tasks say."""
    learner, everything = FixedFeatures(features), np.ones(len(tasks), dtype=np.bool_)
    known = RehearsalPools(tasks, everything, rare, "labelled")
    trials, ledger, start = _trials(), Ledger(), known.draw(1000 + seed)
    protocol = replace(PROTOCOLS["blood-named"], **_CHANGES, rare_classes=rare)
    simulate(protocol, start, tasks, learner, LIVE, seed=seed, settings=trials[0].settings, witness=ledger)
    labelled = np.zeros(len(tasks), dtype=np.bool_)
    labelled[[*ledger.entered, *start.exemplars.tolist()]] = True
    sample = ledger.sample(np.flatnonzero(labelled))
    shares = {name: sample.share(tasks.members(name)[labelled]) for name in rare}
    hidden = replace(
        tasks,
        classes=(*tasks.classes, "(nobody labelled it)"),
        labels=np.where(labelled, tasks.labels, len(tasks.classes)),
    )
    truth = _run(known, learner, trials)
    compared: dict[tuple[str, Kind], _Compared] = {}
    for kind in KINDS:
        prevalence = {name: share.estimate or 0.0 for name, share in shares.items() if share is not None}
        if kind == "thinned" and len(prevalence) < len(rare):
            continue
        try:
            told = _run(RehearsalPools(hidden, labelled, rare, kind, prevalence), learner, trials)
        except InvalidArgumentError:  # too few cases are left: a rehearsal refuses it, too
            continue
        for trial in trials[1:]:
            compared[trial.name, kind] = _Compared(_beside(told, trial), _beside(truth, trial))
    return compared


def _trials() -> list[Trial]:
    own = load_settings(
        label_studio_api_key="none",
        audit_share=_AUDIT_SHARE,
        start_training_each_n_updates=_CHANGES["batch"],
        acquisition="auto",
        goal="rare",
        queue_size=200,
    )
    others: dict[str, dict[str, Any]] = {
        "acquisition flqmi": {"acquisition": "flqmi"},
        "acquisition entropy": {"acquisition": "entropy"},
        "acquisition random": {"acquisition": "random"},
        "audit share 0.5": {"audit_share": 0.5},
    }
    return [
        Trial("own", own),
        *(Trial(name, own.model_copy(update=changes)) for name, changes in others.items()),
    ]


def _run(pools: RehearsalPools, learner: FixedFeatures, trials: Sequence[Trial]) -> Mapping[str, list[Outcome]]:
    """Give as many labels as the project got, or half of a smaller pool's, from which all would find all."""
    size = len(pools.draw(0).pool)
    labels = min(_CHANGES["labels"], size // 2)
    replay = Replay(pools, learner, {}, labels, time.monotonic() + _SECONDS)
    replay.run(trials, _REPEATS, lambda *_: None)
    return replay.outcomes


def _beside(outcomes: Mapping[str, list[Outcome]], trial: Trial) -> float:
    """Return which share of the rare cases a trial finds more than the project's own settings, a mean over repeats.

    It is taken over the whole of the curves: their ends are the same once all is found.
    """
    shares = [
        np.mean(np.subtract(one.found, own.found)) / own.rare
        for one, own in zip(outcomes[trial.name], outcomes["own"], strict=True)
    ]
    return float(np.mean(shares))


def _table(title: str, compared: Mapping[tuple[str, Kind], Sequence[_Compared]]) -> Table:
    table = Table(title=f"{title}; share of the rare cases found beside the project's own settings, in points")
    for heading in ("setting", "pool", "predicted", "true", "error", "right sign"):
        table.add_column(heading, justify="left" if heading in {"setting", "pool"} else "right")
    for trial in dict.fromkeys(name for name, _ in compared):
        for kind in KINDS:
            ones = compared.get((trial, kind), ())
            if not ones:
                table.add_row(trial, kind, "–", "–", "–", "–")
                continue
            predicted, true = ([100 * value for value in values] for values in _columns(ones))
            errors = np.subtract(predicted, true).tolist()
            right = sum(np.sign(one.predicted) == np.sign(one.true) for one in ones)
            cells = [_mean(values) for values in (predicted, true, errors)]
            table.add_row(trial, kind, *cells, f"{right} of {len(ones)}")
    return table


def _columns(ones: Sequence[_Compared]) -> tuple[list[float], list[float]]:
    return [one.predicted for one in ones], [one.true for one in ones]


def _mean(values: Sequence[float]) -> str:
    error = f" ± {standard_error(values):.1f}" if len(values) > 1 else ""
    return f"{np.mean(values):+.1f}{error}"
