"""What is maximised over a partitioned pool: the functions whose kernel is n × q."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from clinical_backend.acquisition.arguments import alike, choice, non_negative
from clinical_backend.acquisition.functions import com, flqmi
from clinical_backend.acquisition.functions.gcmi import gcmi_scores
from clinical_backend.acquisition.request import Concave, Request, Similarity
from clinical_backend.errors import InvalidArgumentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical_backend.acquisition.compiled.lazy import Memo, Terms
    from clinical_backend.acquisition.compiled.threads import Workers
    from clinical_backend.acquisition.embedding import Embedding

__all__ = ["PARTITIONED", "Objective"]

PARTITIONED = ("flqmi", "gcmi", "com")
"""The functions of which no gain depends on similarities between points of the pool."""


@dataclass(frozen=True)
class Objective:
    """A function and its parameters, which mean what they mean to ``acquisition.select``."""

    name: str
    query: Embedding
    eta: float
    lambda_: float
    concave: Concave
    similarity: Similarity

    @classmethod
    def of(
        cls,
        name: str,
        query: Embedding,
        *,
        eta: float = 1.0,
        lambda_: float = 1.0,
        concave: str = "log",
        similarity: str = "rescaled",
    ) -> Self:
        """Return a function with its parameters.

        Raises
        ------
        InvalidArgumentError
            Where the function is none of ``PARTITIONED``, or a parameter is outside its domain.
        """
        if name not in PARTITIONED:
            raise InvalidArgumentError(
                "name",
                f"{name!r} cannot be selected from parts of a pool.",
                f"Choose one of {', '.join(PARTITIONED)}, or select from the pool as a whole.",
            )
        return cls(
            name,
            query,
            non_negative("eta", eta),
            non_negative("lambda_", lambda_),
            choice("concave", concave, Concave),
            choice("similarity", similarity, Similarity),
        )

    @property
    def modular(self) -> bool:
        """Whether no pick changes any gain."""
        return self.name == "gcmi"

    def scores(self, pool: Embedding) -> NDArray[np.float64]:
        """Return the (n,) gains of a modular function."""
        return gcmi_scores(self._request(pool))

    def terms(self, pool: Embedding, workers: Workers) -> Terms:
        """Return the gains of a function that is not modular."""
        request = self._request(pool)
        return flqmi.flqmi_terms(request, workers) if self.name == "flqmi" else com.com_terms(request, workers)

    def memo(self, top: NDArray[np.float32] | None = None, bottom: NDArray[np.float32] | None = None) -> Memo:
        """Return the memo of no picks, which bounds increments of similarities between the two (q,) ends, if given."""
        size = len(self.query)
        if self.name == "flqmi":
            return flqmi.Covered(size)
        high, low = (np.zeros(size) if end is None else end.astype(np.float64) for end in (top, bottom))
        return com.Covered(high, low, self.concave)

    def _request(self, pool: Embedding) -> Request:
        alike("query", pool, self.query)
        return Request(
            pool=pool,
            query=self.query,
            budget=0,
            eta=self.eta,
            lambda_=self.lambda_,
            nu=0.0,
            concave=self.concave,
            similarity=self.similarity,
            conditioning=None,
            labelled=None,
            probabilities=None,
            weight=0.0,
            seed=0,
        )
