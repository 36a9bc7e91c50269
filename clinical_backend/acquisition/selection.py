"""`select`: one entrance to every function and every baseline."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from numbers import Integral
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from clinical_backend.acquisition.baselines.badge import badge
from clinical_backend.acquisition.baselines.coreset import coreset
from clinical_backend.acquisition.baselines.nearest import nearest
from clinical_backend.acquisition.baselines.quality_diversity import quality_diversity
from clinical_backend.acquisition.baselines.random import random
from clinical_backend.acquisition.baselines.rare import p_rare
from clinical_backend.acquisition.baselines.typiclust import typiclust
from clinical_backend.acquisition.baselines.uncertainty import entropy, least_confidence, margin
from clinical_backend.acquisition.functions.com import com
from clinical_backend.acquisition.functions.flqmi import flqmi
from clinical_backend.acquisition.functions.flvmi import flvmi
from clinical_backend.acquisition.functions.gcmi import gcmi
from clinical_backend.acquisition.functions.logdetmi import logdetmi
from clinical_backend.acquisition.request import Concave, Request, Selection, Similarity
from clinical_backend.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from clinical_backend.acquisition.embedding import Embedding

__all__ = ["NAMES", "select"]

_Choice = TypeVar("_Choice", bound=StrEnum)


@dataclass(frozen=True)
class _Strategy:
    """A function or baseline with the arguments it cannot do without and those it understands."""

    run: Callable[[Request], Selection]
    needs: frozenset[str] = frozenset()
    uses: frozenset[str] = frozenset()
    logdet: bool = False


_STRATEGIES = {
    "flqmi": _Strategy(flqmi, frozenset({"query"})),
    "gcmi": _Strategy(gcmi, frozenset({"query"})),
    "com": _Strategy(com, frozenset({"query"})),
    "flvmi": _Strategy(flvmi, frozenset({"query"}), frozenset({"conditioning"})),
    "logdetmi": _Strategy(logdetmi, frozenset({"query"}), frozenset({"conditioning"}), logdet=True),
    "flcmi": _Strategy(flvmi, frozenset({"query", "conditioning"})),
    "logdetcmi": _Strategy(logdetmi, frozenset({"query", "conditioning"}), logdet=True),
    "random": _Strategy(random),
    "entropy": _Strategy(entropy, frozenset({"probabilities"})),
    "margin": _Strategy(margin, frozenset({"probabilities"})),
    "least_confidence": _Strategy(least_confidence, frozenset({"probabilities"})),
    "badge": _Strategy(badge),
    "coreset": _Strategy(coreset),
    "nearest": _Strategy(nearest, frozenset({"query"})),
    "p_rare": _Strategy(p_rare, frozenset({"probabilities"})),
    "typiclust": _Strategy(typiclust),
    "quality_diversity": _Strategy(quality_diversity, frozenset({"probabilities"}), logdet=True),
}
_OF_RARE = frozenset({"p_rare", "quality_diversity"})

NAMES = tuple(_STRATEGIES)
"""What `select` can be asked for."""


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
    device: str = "cpu",
) -> Selection:
    """Pick the images of a pool that a reader should see next.

    The same arguments always give the same picks; of equal gains the lowest index wins. Duplicates are points of
    their own. A budget beyond the pool picks all of it; an empty pool or a budget of zero gives an empty selection.

    Parameters
    ----------
    name
        One of `NAMES`.
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
        (p) the counter-exemplars, of the functions that know them: "flvmi" and "logdetmi", which then are FLCMI and
        LOGDETCMI.
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
    device
        "cpu", or a CUDA device of torch.

    Returns
    -------
    Selection
        min(budget, n) picks.

    Raises
    ------
    InvalidArgumentError
        Names the argument and the reason.
    """
    strategy = _STRATEGIES.get(name)
    if strategy is None:
        raise InvalidArgumentError(
            "name", f"there is no acquisition {name!r}.", f"Choose one of {', '.join(NAMES)}."
        )
    given = {"query": query, "conditioning": conditioning, "probabilities": probabilities}
    for argument in sorted(strategy.needs):
        if given[argument] is None:
            raise InvalidArgumentError(
                argument, f"{name} needs it.", "Give it, or choose another acquisition."
            )
    conditional = "conditioning" in strategy.needs | strategy.uses
    if conditioning is not None and not conditional:
        raise InvalidArgumentError(
            "conditioning",
            f"{name} knows no counter-exemplars.",
            "Choose flvmi, flcmi, logdetmi or logdetcmi.",
        )
    if "query" in strategy.needs and query is not None:
        _refuse_unlike("query", pool, query)
    if conditioning is not None:
        _refuse_unlike("conditioning", pool, conditioning)
    if labelled is not None and labelled.features.shape[1] != pool.features.shape[1]:
        raise InvalidArgumentError(
            "labelled", "its features have another length than the pool's.", "Use one backbone."
        )
    if strategy.logdet:
        if eta > 1:
            raise InvalidArgumentError(
                "eta",
                f"{name} with eta {eta} > 1 makes the similarity matrix indefinite, so that no log-determinant exists.",
                "Give an eta between 0 and 1.",
            )
        if lambda_ <= 0:
            raise InvalidArgumentError(
                "lambda_", f"it is {lambda_}, and {name} needs a ridge.", "Give a positive number."
            )
        if _choice("similarity", similarity, Similarity) is Similarity.CLIPPED:
            raise InvalidArgumentError(
                "similarity",
                f"clipping makes the similarity matrix indefinite, which {name} cannot use.",
                "Choose cosine or rescaled.",
            )
    request = Request(
        pool=pool,
        query=query,
        budget=min(_budget(budget), len(pool)),
        eta=_non_negative("eta", eta),
        lambda_=_non_negative("lambda_", lambda_),
        nu=_non_negative("nu", nu),
        concave=_choice("concave", concave, Concave),
        similarity=_choice("similarity", similarity, Similarity),
        conditioning=conditioning,
        labelled=labelled,
        probabilities=_probabilities(name, probabilities, rare_classes, len(pool)),
        weight=_non_negative("weight", weight),
        seed=seed,
        device=device,
    )
    if request.budget == 0:
        return Selection(np.empty(0, np.int64), np.empty(0))
    return strategy.run(request)


def _budget(budget: int) -> int:
    if not isinstance(budget, Integral) or isinstance(budget, bool) or budget < 0:
        raise InvalidArgumentError(
            "budget", f"it is {budget!r}.", "Give a whole number of picks, at least 0."
        )
    return int(budget)


def _non_negative(argument: str, value: float) -> float:
    if not math.isfinite(value) or value < 0:
        raise InvalidArgumentError(argument, f"it is {value!r}.", "Give a finite number of at least 0.")
    return float(value)


def _choice(argument: str, value: str, kind: type[_Choice]) -> _Choice:
    try:
        return kind(value)
    except ValueError:
        choices = ", ".join(kind)
        raise InvalidArgumentError(argument, f"there is no {value!r}.", f"Choose one of {choices}.") from None


def _refuse_unlike(argument: str, pool: Embedding, other: Embedding) -> None:
    if len(other) == 0:
        raise InvalidArgumentError(argument, "it is empty.", "Give at least one image.")
    if other.features.shape[1] != pool.features.shape[1]:
        raise InvalidArgumentError(
            argument,
            f"its features have length {other.features.shape[1]}, the pool's {pool.features.shape[1]}.",
            "Embed both with the same backbone.",
        )
    if (other.residuals is None) != (pool.residuals is None) or (
        other.residuals is not None
        and pool.residuals is not None
        and other.residuals.shape[1] != pool.residuals.shape[1]
    ):
        raise InvalidArgumentError(
            argument,
            "it and the pool do not have residuals of the same classes.",
            "Give both residuals of the same classifier, or neither.",
        )


def _probabilities(
    name: str, probabilities: ArrayLike | None, rare_classes: Sequence[int] | None, count: int
) -> NDArray[np.float32] | None:
    if probabilities is None:
        return None
    array = np.asarray(probabilities, np.float32)
    if array.ndim not in {1, 2} or len(array) != count or (array.shape[-1] == 0 and count):
        raise InvalidArgumentError(
            "probabilities",
            f"it has shape {array.shape}.",
            f"Give one row for each of the {count} images of the pool.",
        )
    if not np.isfinite(array).all() or array.min(initial=0) < 0 or array.max(initial=0) > 1 + 1e-4:
        raise InvalidArgumentError(
            "probabilities", "it holds numbers outside [0, 1] or NaN.", "Give probabilities."
        )
    if name in _OF_RARE:
        if array.ndim == 2:
            if not rare_classes or not all(0 <= column < array.shape[1] for column in rare_classes):
                raise InvalidArgumentError(
                    "rare_classes",
                    f"it is {rare_classes!r} beside probabilities of {array.shape[1]} classes.",
                    "Name the columns of the rare classes, or give P(rare) alone.",
                )
            array = array[:, sorted(set(rare_classes))].sum(axis=1)
        return np.minimum(array, 1)[:, None]
    if array.ndim == 1:
        raise InvalidArgumentError(
            "probabilities", f"{name} needs those of all classes.", "Give an (n, C) matrix."
        )
    return array
