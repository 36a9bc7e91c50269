"""Compiling before the first request waits for it."""

from __future__ import annotations

import numpy as np

from clinical_backend.acquisition.embedding import Embedding
from clinical_backend.acquisition.selection import select

__all__ = ["warm_up"]


def warm_up() -> None:
    """Run every compiled loop once: seconds on the first call on a machine, then from the cache on disk.

    The cache lies beside the package, or in the user's cache folder where that is read-only, or in
    NUMBA_CACHE_DIR.
    """
    generator = np.random.default_rng(0)
    features = generator.standard_normal((40, 4))
    for residuals in (None, generator.standard_normal((40, 2))):
        pool = Embedding(features, residuals)
        for name in ("flqmi", "flvmi", "logdetmi"):
            select(name, pool, pool.take([0, 1]), 3)
