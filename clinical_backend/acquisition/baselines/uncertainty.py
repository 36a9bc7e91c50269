"""Uncertainty: the images that the classifier is least sure of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition.compiled.greedy import largest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical_backend.acquisition.request import Request, Selection

__all__ = ["entropy", "least_confidence", "margin"]


def entropy(request: Request) -> Selection:
    """Rank by the entropy −Σ_c p_c log p_c, in nats, which are the gains."""
    probabilities = _probabilities(request)
    logs = np.log(probabilities, where=probabilities > 0, out=np.zeros_like(probabilities))
    return largest(-(probabilities * logs).sum(axis=1), request.budget)


def margin(request: Request) -> Selection:
    """Rank by how close the two largest probabilities are; the gains are minus their difference."""
    probabilities = _probabilities(request)
    if probabilities.shape[1] == 1:
        return largest(-probabilities[:, 0], request.budget)
    top = np.partition(probabilities, -2, axis=1)
    return largest(top[:, -2] - top[:, -1], request.budget)


def least_confidence(request: Request) -> Selection:
    """Rank by 1 − max_c p_c, which are the gains."""
    return largest(1 - _probabilities(request).max(axis=1), request.budget)


def _probabilities(request: Request) -> NDArray[np.float64]:
    assert request.probabilities is not None
    return request.probabilities.astype(np.float64)
