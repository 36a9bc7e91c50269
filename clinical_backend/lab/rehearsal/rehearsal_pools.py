"""The tasks that a rehearsal searches, and how far they are like those of the project."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from clinical_backend.errors import InvalidArgumentError
from clinical_backend.lab.experiments.protocol import Draw

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from clinical_backend.lab.experiments.datasets import LabelledImages

__all__ = ["KINDS", "Kind", "RehearsalPools"]

Kind = Literal["labelled", "thinned", "whole"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""``labelled`` tasks as they are; these with so many rare ones alone that they are as frequent as in the project; the
``whole`` project, in which what nobody labelled counts as not rare."""

EXEMPLARS = 3
"""Of each rare class at the start, at most: as ``clinical demo`` tags."""
_OF_EXEMPLARS = 4
"""A class of fewer cases for each exemplar has fewer of these: what is left to find has to tell settings apart."""
_LEAST_RARE = 4
"""Cases that are left to find, at least: with fewer, one case is a quarter of all, and a table says nothing."""


@dataclass(frozen=True, slots=True)
class RehearsalPools:
    """Draws the tasks of each repeat of a rehearsal, and its exemplars.

    Attributes
    ----------
    data
        The tasks of the project that have a feature, as a labelled set.
    labelled
        Which of them somebody labelled, shape (n,).
    rare_classes
        What is looked for.
    kind
        Which of them are searched.
    prevalence
        Share of each rare class in the project, for ``thinned``.
    """

    data: LabelledImages
    labelled: NDArray[np.bool_]
    rare_classes: tuple[str, ...]
    kind: Kind
    prevalence: Mapping[str, float] | None = None

    def draw(self, seed: int) -> Draw:
        """Return the tasks of a repeat, as indices into the set.

        Raises
        ------
        InvalidArgumentError
            When too few rare cases are left to find.
        """
        generator = np.random.default_rng(seed)
        tasks = np.flatnonzero(self.labelled) if self.kind != "whole" else np.arange(len(self.data))
        if self.kind == "thinned":
            tasks = self._thinned(tasks, generator)
        exemplars = self._exemplars(tasks, generator)
        rare = np.logical_or.reduce([self.data.members(name)[tasks] for name in self.rare_classes])
        left = int(rare.sum()) - len(exemplars)
        if left < _LEAST_RARE:
            raise InvalidArgumentError(
                "pool",
                f"{left} rare cases are left to find beside the exemplars, in {len(tasks)} tasks.",
                f"A rehearsal needs at least {_LEAST_RARE}: label more of them"
                + (", or take --pool whole." if self.kind == "thinned" else "."),
            )
        nothing = np.empty(0, dtype=np.int64)
        return Draw(generator.permutation(tasks), exemplars, nothing, nothing, nothing, self.rare_classes)

    def _thinned(self, tasks: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.int64]:
        """Keep all common cases, and of each rare class as many as make its share that of the project."""
        assert self.prevalence is not None
        members = {name: tasks[self.data.members(name)[tasks]] for name in self.rare_classes}
        common = np.setdiff1d(tasks, np.concatenate([*members.values()]))
        share = min(0.99, sum(self.prevalence[name] for name in members))
        kept = [common]
        for name, cases in members.items():
            count = round(self.prevalence[name] / (1 - share) * len(common))
            chosen = generator.permutation(cases)
            kept.append(chosen[: count + self._count(min(count, len(cases)))])
        return np.unique(np.concatenate(kept))

    def _exemplars(self, tasks: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.int64]:
        """Draw what is tagged at the start; of a case of two findings once."""
        found: list[int] = []
        for name in self.rare_classes:
            cases = np.setdiff1d(tasks[self.data.members(name)[tasks]], found)
            found += generator.permutation(cases)[: self._count(len(cases))].tolist()
        return np.array(found, dtype=np.int64)

    @staticmethod
    def _count(cases: int) -> int:
        """Return how many exemplars a class of so many cases has."""
        return min(EXEMPLARS, cases // _OF_EXEMPLARS)
