"""P(rare): the most likely positives first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition.compiled.greedy import largest

if TYPE_CHECKING:
    from clinical_backend.acquisition.request import Request, Selection

__all__ = ["p_rare"]


def p_rare(request: Request) -> Selection:
    """Rank by the classifier's probability of the rare class; the gains are the probabilities."""
    assert request.probabilities is not None
    return largest(request.probabilities.astype(np.float64), request.budget)
