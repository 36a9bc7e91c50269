"""Random: every image with the same chance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition.request import Selection

if TYPE_CHECKING:
    from clinical_backend.acquisition.request import Request

__all__ = ["random"]


def random(request: Request) -> Selection:
    """Draw without replacement. Gains are zero."""
    generator = np.random.default_rng(request.seed)
    indices = generator.permutation(len(request.pool))[: request.budget]
    return Selection(indices.astype(np.int64), np.zeros(request.budget))
