"""What stands for an image: the frozen feature alone, or joined with that of the network adapted to the project."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.errors import ClinicalError
from clinical_backend.learner.adaptation.network import join_features
from clinical_backend.learner.classifier.folds import deal_folds
from clinical_backend.learner.classifier.semi_supervised import fit_with_pool
from clinical_backend.system.pulse import note_progress
from clinical_backend.workspace.embedding import THUMBNAIL, FeaturedTasks, digests_of, features_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from clinical_backend.workspace.workspace import Adapted, Workshop

__all__ = ["Representation", "adapted_is_better", "adapted_rows", "join", "representations"]

logger = logging.getLogger(__name__)

_ADAPTED_WEIGHT = 2.0
_BATCH = 256
_FOLDS = 3
_POOL_SAMPLE = 500
_LEAST_RARE = 3


@dataclass(frozen=True, slots=True)
class Representation:
    """A way to represent the images of a project.

    Attributes
    ----------
    key
        Identifies the backbones: a classifier fits features of its own key only.
    adapted
        The adapted network, if it takes part.
    """

    key: str
    adapted: Adapted | None

    def features_of(self, workshop: Workshop, project_id: int, tasks: Iterable[int]) -> FeaturedTasks:
        """Return those of the tasks that have all features, in their order."""
        frozen = features_of(workshop.stores, workshop.features, project_id, tasks)
        if self.adapted is None:
            return frozen
        digests = digests_of(workshop.stores, project_id, frozen.tasks.tolist())
        own = adapted_rows(workshop, self.adapted, [digests.get(task, "") for task in frozen.tasks.tolist()])
        there = np.array([row is not None for row in own], dtype=bool)
        if not there.any():
            return FeaturedTasks(frozen.tasks[:0], np.empty((0, self.dimension(workshop)), dtype=np.float32))
        joined = join(frozen.features[there], np.stack([row for row in own if row is not None]))
        parts = (workshop.backbone.dimension, self.adapted.backbone.dimension)
        return FeaturedTasks(frozen.tasks[there], joined, parts)

    def dimension(self, workshop: Workshop) -> int:
        """Return the length of a feature."""
        return workshop.backbone.dimension + (self.adapted.backbone.dimension if self.adapted else 0)


def join(frozen: NDArray[np.float32], adapted: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return frozen and adapted features as one, shape (n, d + d'), in which the adapted ones have more weight."""
    return join_features([frozen, adapted], [1.0, _ADAPTED_WEIGHT])


def representations(workshop: Workshop, project_id: int) -> list[Representation]:
    """Return what a project can be represented by: frozen, and joined where a network is adapted to it."""
    frozen = Representation(workshop.backbone.key, None)
    try:
        adapted = workshop.adapted(project_id)
    except ClinicalError as error:
        logger.warning("Project %d goes on with frozen features: %s", project_id, error)
        return [frozen]
    if adapted is None:
        return [frozen]
    return [frozen, Representation(f"{workshop.backbone.key}+{adapted.backbone.key}", adapted)]


def adapted_rows(workshop: Workshop, adapted: Adapted, digests: Sequence[str]) -> list[NDArray[np.float32] | None]:
    """Return the adapted feature of each image, made from its thumbnail where it is missing; ``None`` without one."""
    thumbnails = workshop.thumbnails
    known = adapted.features.positions(digests)
    missing = thumbnails.positions(digest for digest in digests if digest not in known)
    waiting = list(missing)
    for start in range(0, len(waiting), _BATCH):
        batch = waiting[start : start + _BATCH]
        pixels = thumbnails.read([missing[digest] for digest in batch])
        note_progress()
        adapted.features.add(batch, adapted.backbone.embed(pixels.reshape(-1, THUMBNAIL, THUMBNAIL, 3)))
    if waiting:
        known = adapted.features.positions(digests)
    there = [digest for digest in digests if digest in known]
    rows = dict(zip(there, adapted.features.read([known[digest] for digest in there]), strict=True))
    return [rows.get(digest) for digest in digests]


def adapted_is_better(
    rare: tuple[NDArray[np.float32], NDArray[np.float32]],
    common: tuple[NDArray[np.float32], NDArray[np.float32]],
    pool: tuple[NDArray[np.float32], NDArray[np.float32]],
    *,
    seed: int,
    groups: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]] | None = None,
) -> tuple[bool, str]:
    """Check by the labels at hand whether joined features tell the target apart better than frozen ones.

    By cross-validation over the rare labels: a detector that has not seen a case ranks it against a sample of
    the pool, which needs no label of a common class. The mean logarithm of these ranks decides. Fewer rare
    labels than three cannot judge; the joined features are taken then, since they halve the labels that it
    takes to meet the first rare case, and on no set lost against the frozen ones (docs/finding-power.md).

    Parameters
    ----------
    rare, common, pool
        Frozen and joined features of the query set, of other labelled tasks, and of the pool.
    groups
        A number for each of their tasks: of a patient whose case is held out, nothing is learnt from.

    Returns
    -------
    tuple
        The verdict and its reason, for people.
    """
    if len(rare[0]) < _LEAST_RARE or not len(pool[0]):
        return True, f"{len(rare[0])} rare labels are too few to judge the adapted network"
    generator = np.random.default_rng(seed)
    folds = generator.permutation(len(rare[0])) % min(_FOLDS, len(rare[0]))
    sample = generator.permutation(len(pool[0]))[: 2 * _POOL_SAMPLE]
    learnt, ranked = np.array_split(sample, 2) if len(sample) > 1 else (sample, sample)
    if groups is None:
        groups = _all_apart(*(len(part[0]) for part in (rare, common, pool)))
    else:
        folds = deal_folds(np.zeros(len(rare[0]), dtype=np.intp), _FOLDS, seed, groups[0])
        ranked = ranked[~np.isin(groups[2][ranked], groups[2][learnt])]
    if len(np.unique(folds)) < 2 or not len(ranked):
        return True, "too few patients to judge the adapted network"
    splits = _splits(folds, groups[0], groups[1], groups[2][learnt])
    frozen, joined = (
        _mean_log_rank(rare[which], common[which], pool[which][learnt], pool[which][ranked], splits, seed)
        for which in range(2)
    )
    better = joined < frozen
    verdict = "better" if better else "no better"
    return (
        better,
        f"the adapted network ranks held-out rare cases {verdict} (log rank {joined:.2f}, {frozen:.2f} without)",
    )


def _all_apart(*sizes: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return a number of its own for each task of three parts."""
    first, second, third = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    return first, second, third


def _splits(folds: NDArray[np.intp], *groups: NDArray[np.int64]) -> list[tuple[NDArray[np.bool_], ...]]:
    """Return, fold by fold, which rare cases are held out, and of each part what shares no group with them."""
    outs = [folds == fold for fold in np.unique(folds)]
    return [(out, *(~np.isin(part, groups[0][out]) for part in groups)) for out in outs]


def _mean_log_rank(
    rare: NDArray[np.float32],
    common: NDArray[np.float32],
    learnt: NDArray[np.float32],
    ranked: NDArray[np.float32],
    splits: list[tuple[NDArray[np.bool_], ...]],
    seed: int,
) -> float:
    ranks: list[float] = []
    for out, rare_kept, common_kept, learnt_kept in splits:
        seen, others = rare[rare_kept], common[common_kept]
        codes = np.repeat([0, 1], [len(seen), len(others)])
        classifier = fit_with_pool(
            np.concatenate([seen, others]), codes, ("rare", "common"), learnt[learnt_kept], rare=[0], seed=seed
        )
        held_out = classifier.probabilities(rare[out])[:, 0]
        scores = np.sort(classifier.probabilities(ranked)[:, 0])
        ranks += list(len(scores) - np.searchsorted(scores, held_out, side="right") + 1.0)
    return float(np.mean(np.log(ranks)))
