"""Baselines of a few lines: one number for each image, or a draw."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition.compiled.farthest import View, farthest_first
from clinical_backend.acquisition.compiled.greedy import largest
from clinical_backend.acquisition.compiled.similarity import Directions, Map, cross
from clinical_backend.acquisition.compiled.threads import Workers
from clinical_backend.acquisition.declaration import acquisition
from clinical_backend.acquisition.embedding import Embedding
from clinical_backend.acquisition.request import Selection

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical_backend.acquisition.request import Request

__all__ = ["coreset", "entropy", "least_confidence", "margin", "nearest", "p_rare", "random"]


@acquisition("random, to compare with", settable=True)
def random(request: Request) -> Selection:
    """Draw without replacement. Gains are zero."""
    generator = np.random.default_rng(request.seed)
    indices = generator.permutation(len(request.pool))[: request.budget]
    return Selection(indices.astype(np.int64), np.zeros(request.budget))


@acquisition("where the model is unsure", needs=["probabilities"], settable=True)
def entropy(request: Request) -> Selection:
    """Rank by the entropy −Σ_c p_c log p_c, in nats, which are the gains."""
    probabilities = _probabilities(request)
    logs = np.log(probabilities, where=probabilities > 0, out=np.zeros_like(probabilities))
    return largest(-(probabilities * logs).sum(axis=1), request.budget)


@acquisition("where two classes are equally likely", needs=["probabilities"])
def margin(request: Request) -> Selection:
    """Rank by how close the two largest probabilities are; the gains are minus their difference."""
    probabilities = _probabilities(request)
    if probabilities.shape[1] == 1:
        return largest(-probabilities[:, 0], request.budget)
    top = np.partition(probabilities, -2, axis=1)
    return largest(top[:, -2] - top[:, -1], request.budget)


@acquisition("where no class is likely", needs=["probabilities"])
def least_confidence(request: Request) -> Selection:
    """Rank by 1 − max_c p_c, which are the gains."""
    return largest(1 - _probabilities(request).max(axis=1), request.budget)


@acquisition("probably rare, most likely first", needs=["probabilities"], of_rare=True, settable=True)
def p_rare(request: Request) -> Selection:
    """Rank by the classifier's probability of the rare class; the gains are the probabilities."""
    return largest(_probabilities(request), request.budget)


@acquisition("like one of the exemplars", needs=["query"])
def nearest(request: Request) -> Selection:
    """Rank by the similarity to the nearest exemplar; the gains are the similarities. O(n d q)."""
    assert request.query is not None
    to = Map.of(request.similarity)
    with Workers() as workers:
        pool = Directions(request.pool, "pool", workers, deferred=True)
        between = cross(pool, Directions(request.query, "query", workers), to, workers, keep=False)
    return largest(to(between.nearest).astype(np.float64), request.budget)


@acquisition("variety, while no target is known")
def coreset(request: Request) -> Selection:
    """Pick the image whose features are farthest from all labelled and picked ones: see :func:`farthest_first`."""
    return farthest_first([View(Embedding(request.pool.features), request.labelled)], request.budget)


def _probabilities(request: Request) -> NDArray[np.float64]:
    assert request.probabilities is not None
    return request.probabilities.astype(np.float64)
