"""`select`: one entrance to every function and every baseline."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition.arguments import (
    alike,
    choice,
    non_negative,
    number_of_picks,
    probability_matrix,
    probability_of_rare,
)
from clinical_backend.acquisition.baselines.badge import badge
from clinical_backend.acquisition.baselines.quality_diversity import quality_diversity
from clinical_backend.acquisition.baselines.simple import (
    coreset,
    entropy,
    least_confidence,
    margin,
    nearest,
    p_rare,
    random,
)
from clinical_backend.acquisition.baselines.typiclust import typiclust
from clinical_backend.acquisition.functions.com import com
from clinical_backend.acquisition.functions.flqmi import flqmi
from clinical_backend.acquisition.functions.flvmi import flcmi, flvmi
from clinical_backend.acquisition.functions.gcmi import gcmi
from clinical_backend.acquisition.functions.logdetmi import logdetcmi, logdetmi
from clinical_backend.acquisition.reference.submodlib import submodlib_selection
from clinical_backend.acquisition.request import Concave, Request, Selection, Similarity
from clinical_backend.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    from clinical_backend.acquisition.declaration import Acquisition
    from clinical_backend.acquisition.embedding import Embedding

__all__ = ["ACQUISITIONS", "FUNCTIONS", "NAMES", "Engine", "select", "settable"]


class Engine(StrEnum):
    """What computes an SMI function; baselines know one engine only."""

    COMPILED = "compiled"
    """Our compiled loops, on the CPU."""
    SUBMODLIB = "submodlib"
    """The reference."""


_FUNCTIONS = (flqmi, gcmi, com, flvmi, flcmi, logdetmi, logdetcmi)
_BASELINES = (
    quality_diversity, p_rare, entropy, random, margin, least_confidence, badge, coreset, nearest, typiclust,
)  # fmt: skip

ACQUISITIONS = {one.name: one for one in (*_FUNCTIONS, *_BASELINES)}
"""What `select` can be asked for, by name."""

NAMES = tuple(ACQUISITIONS)
"""The names alone."""

FUNCTIONS = tuple(one.name for one in _FUNCTIONS)
"""The names of the SMI functions and their conditional kin."""

_LEAST_RIDGE = 1e-3
"""Float32 rounds the similarities off by about 1e-6, and more with their number: a ridge must stay far above."""


def settable() -> tuple[str, ...]:
    """Return the names of the acquisitions that a project may be ordered by."""
    return tuple(one.name for one in ACQUISITIONS.values() if one.settable)


def select(
    name: str,
    pool: Embedding,
    query: Embedding | None,
    budget: int,
    *,
    eta: float = 1.0,
    lambda_: float = 1.0,
    nu: float = 1.0,
    concave: str = "log",
    similarity: str = "rescaled",
    conditioning: Embedding | None = None,
    labelled: Embedding | None = None,
    probabilities: ArrayLike | None = None,
    rare_classes: Sequence[int] | None = None,
    weight: float = 1.0,
    seed: int = 0,
    engine: str = "compiled",
) -> Selection:
    """Pick the images of a pool that a reader should see next.

    The same arguments always give the same picks; of equal gains the lowest index wins. Duplicates are
    points of their own. A budget beyond the pool picks all of it; an empty pool or a budget of zero
    gives an empty selection.

    Parameters
    ----------
    name
        One of `ACQUISITIONS`.
    pool
        (n) the images to pick from.
    query
        (q) the exemplars; None where the function does not look at them.
    budget
        B, the number of picks.
    eta
        η ≥ 0, the weight of the query relevance.
    lambda_
        λ > 0: the ridge of LOGDETMI, LOGDETCMI and quality × diversity, the factor of GCMI.
    nu
        ν ≥ 0, how hard counter-exemplars push away.
    concave
        ψ of COM: "log", "sqrt" or "inverse".
    similarity
        "cosine", "rescaled" ((c + 1)/2) or "clipped" (max(c, 0)).
    conditioning
        (p) the counter-exemplars, of the functions that know them: "flvmi" and "logdetmi", which then
        are FLCMI and LOGDETCMI.
    labelled
        (l) what is labelled already, for "coreset" and "typiclust".
    probabilities
        (n, C) the classifier's belief; for "p_rare" and "quality_diversity" (n,) P(rare), or (n, C) with
        `rare_classes`.
    rare_classes
        The columns of `probabilities` that are rare: their sum is P(rare).
    weight
        w ≥ 0, of the quality in quality × diversity.
    seed
        Of the strategies that draw.
    engine
        "compiled", or "submodlib" for the reference, which knows the SMI functions alone.

    Returns
    -------
    Selection
        min(budget, n) picks.

    Raises
    ------
    InvalidArgumentError
        Names the argument and the reason.
    """
    chosen = ACQUISITIONS.get(name)
    if chosen is None:
        names = ", ".join(ACQUISITIONS)
        raise InvalidArgumentError("name", f"there is no acquisition {name!r}.", f"Choose one of {names}.")
    _refuse_missing(chosen, query=query, conditioning=conditioning, probabilities=probabilities)
    if chosen.needs_query and query is not None:
        alike("query", pool, query)
    if conditioning is not None:
        alike("conditioning", pool, conditioning)
    if labelled is not None and labelled.features.shape[1] != pool.features.shape[1]:
        raise InvalidArgumentError(
            "labelled", "its features have another length than the pool's.", "Embed both with one backbone."
        )
    belief = None
    if probabilities is not None and "probabilities" in chosen.needs:
        belief = (
            probability_of_rare(probabilities, rare_classes, len(pool))
            if chosen.of_rare
            else probability_matrix(probabilities, len(pool))
        )
    request = Request(
        pool=pool,
        query=query,
        budget=min(number_of_picks(budget), len(pool)),
        eta=non_negative("eta", eta),
        lambda_=non_negative("lambda_", lambda_),
        nu=non_negative("nu", nu),
        concave=choice("concave", concave, Concave),
        similarity=choice("similarity", similarity, Similarity),
        conditioning=conditioning,
        labelled=labelled if labelled is not None and len(labelled) else None,
        probabilities=belief,
        weight=non_negative("weight", weight),
        seed=seed,
    )
    if chosen.logdet:
        _refuse_indefinite(chosen, request)
    by = choice("engine", engine, Engine)
    if request.budget == 0:
        return Selection(np.empty(0, np.int64), np.empty(0))
    return submodlib_selection(name, request) if by is Engine.SUBMODLIB else chosen.run(request)


def _refuse_missing(chosen: Acquisition, **given: object) -> None:
    for argument in sorted(chosen.needs):
        if given[argument] is None:
            raise InvalidArgumentError(argument, f"{chosen.name} needs it.", "Give it, or choose another acquisition.")
    if given["conditioning"] is not None and not chosen.conditional:
        *names, last = (one.name for one in ACQUISITIONS.values() if one.conditional)
        raise InvalidArgumentError(
            "conditioning", f"{chosen.name} knows no counter-exemplars.", f"Choose {', '.join(names)} or {last}."
        )


def _refuse_indefinite(chosen: Acquisition, request: Request) -> None:
    name = chosen.name
    if request.eta > 1 and chosen.needs_query:
        raise InvalidArgumentError(
            "eta",
            f"{name} with eta {request.eta} > 1 makes the similarity matrix indefinite: no log-determinant exists.",
            "Give an eta between 0 and 1.",
        )
    if request.lambda_ < _LEAST_RIDGE:
        raise InvalidArgumentError(
            "lambda_",
            f"{name} needs a ridge, and {request.lambda_} is lost in the rounding of float32.",
            f"Give at least {_LEAST_RIDGE}.",
        )
    if request.similarity is Similarity.CLIPPED:
        raise InvalidArgumentError(
            "similarity",
            f"clipping can make the similarity matrix indefinite, which {name} cannot use.",
            "Choose cosine or rescaled.",
        )
