"""LOGDETMI and LOGDETCMI: how much of the picks' volume the query set explains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition.compiled.greedy import first_largest
from clinical_backend.acquisition.compiled.similarity import Directions, Map
from clinical_backend.acquisition.compiled.threads import Workers
from clinical_backend.acquisition.compiled.volume import Volume
from clinical_backend.acquisition.declaration import acquisition
from clinical_backend.acquisition.request import Selection

if TYPE_CHECKING:
    from clinical_backend.acquisition.request import Request

__all__ = ["logdetcmi", "logdetmi"]


@acquisition("like the exemplars, and varied (LogDetMI)", needs=["query"], conditional=True, logdet=True, settable=True)
def logdetmi(request: Request) -> Selection:
    """Pick what resembles the query set and not itself; with counter-exemplars P, nor them.

    f(A; Q) = log det S_A − log det(S_A − η² S_AQ S_Q⁻¹ S_QA), S + λI in place of S everywhere. With P,
    LOGDETCMI: f(A; Q | P) = log det S_{A|P} − log det S_{A|P∪Q}, similarities of the pool to P scaled
    by ν.

    Memo: for each point of the pool the two conditional variances d1 and d2 (see `volume`). Gain of j:
    log d1_j − log d2_j. f is not submodular in A, so every gain is computed for every pick: one pass over the
    features, O(n d), or O(n d C) with residuals of C classes; no kernel between points of the pool exists.

    Raises
    ------
    InvalidArgumentError
        Where η and ν make the scaled matrix indefinite.

    References
    ----------
    Kothawade et al., "PRISM", AAAI 2022, tables 1 (LOGDETMI) and 2 (LOGDETCMI).
    """
    assert request.query is not None
    indices, gains = np.empty(request.budget, np.int64), np.empty(request.budget)
    with Workers() as workers:
        pool = Directions(request.pool, "pool", workers)
        private = request.conditioning
        volume = Volume(
            pool,
            None if private is None else (Directions(private, "conditioning", workers), request.nu),
            (Directions(request.query, "query", workers), request.eta),
            to=Map.of(request.similarity),
            ridge=request.lambda_,
            workers=workers,
        )
        taken = np.zeros(len(pool), np.bool_)
        for step in range(request.budget):
            pick = first_largest(volume.explained / volume.variances, taken)
            variance, explained = volume.add(pick)
            indices[step], gains[step] = pick, -np.log1p(-explained / variance)
    return Selection(indices, gains)


logdetcmi = logdetmi.given_counter_exemplars(
    "logdetcmi", "like the exemplars, varied, and unlike the counter-exemplars (LogDetCMI)"
)
