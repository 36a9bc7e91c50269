"""Stage 4: order the pool. Which acquisition does it is decided from what the round measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition import Embedding, select
from clinical_backend.storage.schema import Draw

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical_backend.rounds.fit import Fit
    from clinical_backend.rounds.target import Target
    from clinical_backend.settings import Settings

__all__ = ["Choice", "RankedTask", "choose_acquisition", "rank"]

_NEEDS_CLASSIFIER = frozenset({"quality_diversity", "p_rare", "entropy"})
_NEEDS_QUERY = frozenset({"flqmi", "gcmi", "com", "flvmi", "logdetmi"})


@dataclass(frozen=True, slots=True)
class Choice:
    """The acquisition of a round, what it works on, and why it was chosen."""

    acquisition: str
    gradients: bool
    reason: str


@dataclass(frozen=True, slots=True)
class RankedTask:
    """A place in the queue, with what explains it.

    Attributes
    ----------
    task_id
        The task.
    draw
        Whether acquisition chose it or the audit drew it.
    predicted, probability
        The model's class and its probability; ``None`` without a model.
    rare_probability
        Probability that it is of a rare class.
    nearest_exemplar, similarity
        The task of the query set that it is most like, and the cosine of their centred features.
    """

    task_id: int
    draw: Draw
    predicted: str | None
    probability: float | None
    rare_probability: float | None
    nearest_exemplar: int | None
    similarity: float | None


def choose_acquisition(setting: str, target: Target, fit: Fit) -> Choice:
    """Choose by stages: diverse while nothing is known, SMI on features, then with the classifier's belief.

    Parameters
    ----------
    setting
        ACQUISITION: ``auto`` follows the stages; another name holds wherever it can work.
    """
    sees = fit.sees_target
    if setting != "auto":
        if setting in _NEEDS_CLASSIFIER and not sees:
            prefix = f"{setting} needs a classifier that sees the target ({fit.reason}); "
        elif setting in _NEEDS_QUERY and not target.query:
            prefix = f"{setting} needs a query set ({target.reason}); "
        else:
            return Choice(setting, sees and setting in _NEEDS_QUERY, "set by ACQUISITION")
    else:
        prefix = ""
    if not target.query:
        return Choice("coreset", False, f"{prefix}{target.reason}: a diverse order")
    if not sees:
        return Choice("flqmi", False, f"{prefix}{target.reason}; {fit.reason}: SMI on features")
    return Choice(
        "quality_diversity", False, f"{prefix}{target.reason}; {fit.reason}: P(rare) weighed with diversity"
    )


def rank(
    settings: Settings,
    target: Target,
    fit: Fit,
    pool: NDArray[np.int64],
    features: NDArray[np.float32],
    query: NDArray[np.int64],
    query_features: NDArray[np.float32],
    counter_features: NDArray[np.float32],
    *,
    round_number: int,
) -> tuple[Choice, list[RankedTask]]:
    """Order the best of the pool, with a share of it drawn at random.

    Parameters
    ----------
    pool, features
        Tasks that may be queued, and their features, shape (n, d), float32.
    query, query_features
        Tasks of the query set that have features, and these, shape (q, d), float32.
    counter_features
        Features of the counter-exemplars, shape (p, d), float32.
    round_number
        Together with SEED it fixes the random draws.

    Returns
    -------
    tuple
        What was chosen, and the queue, best first, min(QUEUE_SIZE, n) long.
    """
    generator = np.random.default_rng([settings.seed, round_number])
    size = min(settings.queue_size, len(pool))
    audit = generator.permutation(len(pool))[: round(settings.audit_share * size)]
    rest = np.setdiff1d(np.arange(len(pool)), audit)
    choice = choose_acquisition(settings.acquisition, target, fit)
    budget = size - len(audit)
    picks = rest[_select(choice, fit, features, rest, query, query_features, counter_features, budget)]
    order, draws = _interleave(picks, audit, generator)
    return choice, _explain(order, draws, target, fit, pool, features, query, query_features)


def _select(
    choice: Choice,
    fit: Fit,
    features: NDArray[np.float32],
    rest: NDArray[np.int64],
    query: NDArray[np.int64],
    query_features: NDArray[np.float32],
    counter_features: NDArray[np.float32],
    budget: int,
) -> NDArray[np.int64]:
    """Return indices into ``rest``, best first."""
    # Post-ReLU features all point one way; around their mean they differ.
    centre = features.mean(axis=0, keepdims=True) if len(features) else np.float32(0)
    candidates = features[rest]
    pool_residuals = query_residuals = None
    if choice.gradients and fit.classifier is not None:
        pool_residuals = fit.classifier.residuals(candidates)
        query_residuals = fit.query_residuals(query, query_features)
    selection = select(
        choice.acquisition,
        Embedding(candidates - centre, residuals=pool_residuals),
        Embedding(query_features - centre, residuals=query_residuals),
        budget=budget,
        probabilities=fit.probabilities(candidates),
        rare=fit.rare_columns,
        conditioning=Embedding(counter_features - centre) if len(counter_features) else None,
    )
    return selection.indices


def _interleave(
    picks: NDArray[np.int64], audit: NDArray[np.int64], generator: np.random.Generator
) -> tuple[NDArray[np.int64], list[Draw]]:
    """Spread the audit draws over the queue, one at a random place of each equal stretch."""
    size = len(picks) + len(audit)
    edges = np.linspace(0, size, len(audit) + 1).astype(int)
    places = {int(generator.integers(low, high)) for low, high in zip(edges, edges[1:], strict=False)}
    chosen, drawn = iter(picks), iter(audit)
    order, draws = [], []
    for place in range(size):
        audited = place in places
        order.append(next(drawn if audited else chosen))
        draws.append(Draw.AUDIT if audited else Draw.TARGET)
    return np.asarray(order, dtype=np.int64), draws


def _explain(
    order: NDArray[np.int64],
    draws: list[Draw],
    target: Target,
    fit: Fit,
    pool: NDArray[np.int64],
    features: NDArray[np.float32],
    query: NDArray[np.int64],
    query_features: NDArray[np.float32],
) -> list[RankedTask]:
    """Say of every queued task what it is most like and what the model believes of it."""
    queued = features[order]
    probabilities = fit.probabilities(queued)
    similarity = _centred_cosine(queued, query_features, features) if len(query) else None
    ranked = []
    for row, (index, draw) in enumerate(zip(order, draws, strict=True)):
        best = None if probabilities is None else int(probabilities[row].argmax())
        nearest = None if similarity is None else int(similarity[row].argmax())
        ranked.append(
            RankedTask(
                task_id=int(pool[index]),
                draw=draw,
                predicted=None if best is None else fit.classes[best],
                probability=None
                if best is None or probabilities is None
                else float(probabilities[row, best]),
                rare_probability=(
                    None
                    if probabilities is None or not target.classes
                    else float(probabilities[row, fit.rare_columns].sum())
                ),
                nearest_exemplar=None if nearest is None else int(query[nearest]),
                similarity=None if similarity is None or nearest is None else float(similarity[row, nearest]),
            )
        )
    return ranked


def _centred_cosine(
    left: NDArray[np.float32], right: NDArray[np.float32], pool: NDArray[np.float32]
) -> NDArray[np.float32]:
    centre = pool.mean(axis=0, keepdims=True)
    first, second = (part - centre for part in (left, right))
    norms = np.linalg.norm(first, axis=1)[:, None] * np.linalg.norm(second, axis=1)[None, :]
    cosine: NDArray[np.float32] = first @ second.T / np.maximum(norms, 1e-12)
    return cosine
