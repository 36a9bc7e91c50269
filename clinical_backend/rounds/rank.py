"""Stage 4: order the pool. Which acquisition does it is decided from what the round measured."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.acquisition import Embedding, select
from clinical_backend.rounds.grouping import group_codes, within_cap
from clinical_backend.rounds.similarity import centred_cosine
from clinical_backend.storage.schema import Draw

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from clinical_backend.rounds.embed import FeaturedTasks
    from clinical_backend.rounds.fit import Fit
    from clinical_backend.rounds.target import Target
    from clinical_backend.settings import Settings

__all__ = ["Choice", "RankedTask", "choose_acquisition", "rank"]

_NEEDS_CLASSIFIER = frozenset({"entropy"})
_OF_RARE = frozenset({"quality_diversity", "p_rare"})
_UNTARGETED = frozenset({"coreset", "entropy", "random"})
_QUALITY_WEIGHT = 3.0
_DIVERSE_COMPONENTS = 16
_CONDITIONAL = frozenset({"flvmi", "logdetmi"})
_NEEDS_QUERY = frozenset({"flqmi", "gcmi", "com", "flvmi", "logdetmi"})


@dataclass(frozen=True, slots=True)
class Choice:
    """The acquisition of a round, and why it was chosen.

    Attributes
    ----------
    acquisition
        Its name.
    gradients
        Whether it works on gradient embeddings instead of features.
    conditioned
        Whether it keeps away from the counter-exemplars.
    reason
        For people.
    """

    acquisition: str
    gradients: bool
    conditioned: bool
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


def choose_acquisition(setting: str, target: Target, fit: Fit, *, query: int, counter_exemplars: int) -> Choice:
    """Choose by stages: diverse while nothing is known, then what is probably rare, and varied.

    Parameters
    ----------
    setting
        ACQUISITION: ``auto`` follows the stages; another name holds wherever it can work.
    query
        How many tasks of the query set have a feature.
    counter_exemplars
        How many counter-exemplars have one.
    """
    if setting != "auto":
        if setting in _OF_RARE and fit.detector is None:
            prefix = f"{setting} needs a query set ({target.reason}); "
        elif setting in _NEEDS_CLASSIFIER and fit.classifier is None:
            prefix = f"{setting} needs a classifier ({fit.reason}); "
        elif setting in _NEEDS_QUERY and not query:
            prefix = f"{setting} needs a query set ({target.reason}); "
        else:
            conditioned = bool(counter_exemplars) and setting in _CONDITIONAL
            gradients = fit.sees_target and setting in _NEEDS_QUERY
            return Choice(setting, gradients, conditioned, "set by ACQUISITION")
    else:
        prefix = ""
    if fit.detector is None:
        return Choice("coreset", False, False, f"{prefix}{target.reason}: a diverse order")
    reason = f"{prefix}{target.reason}; {fit.reason}: P(rare), learnt from labels and the pool, weighed with diversity"
    return Choice("quality_diversity", False, False, reason)


def rank(
    settings: Settings,
    target: Target,
    fit: Fit,
    *,
    pool: FeaturedTasks,
    labelled: FeaturedTasks,
    query: FeaturedTasks,
    counter_exemplars: FeaturedTasks,
    round_number: int,
    groups: Mapping[int, str] | None = None,
) -> tuple[Choice, list[RankedTask]]:
    """Order the best of the pool, with a share of it drawn at random.

    Parameters
    ----------
    pool
        Tasks that may be queued.
    labelled
        Labelled tasks, which a diverse order keeps away from.
    query, counter_exemplars
        What the queue is to turn to, and away from.
    round_number
        Together with SEED it fixes the random draws.
    groups
        What stands for the patient or study, by task. The queue holds at most GROUP_CAP tasks of one: the random draws
        come first, then the order is walked through, and tasks of a full group are passed over.

    Returns
    -------
    tuple
        What was chosen, and the queue, best first, min(QUEUE_SIZE, n) long, or as long as GROUP_CAP allows.
    """
    generator = np.random.default_rng([settings.seed, round_number])
    size = min(settings.queue_size, len(pool))
    codes = group_codes(pool.tasks.tolist(), groups or {})
    cap = settings.group_cap
    audit = within_cap(generator.permutation(len(pool)), codes, cap)[: round(settings.audit_share * size)]
    full = [code for code, count in Counter(codes[audit].tolist()).items() if count >= cap]
    rest = np.setdiff1d(np.flatnonzero(~np.isin(codes, full)), audit)
    choice = choose_acquisition(
        settings.acquisition, target, fit, query=len(query), counter_exemplars=len(counter_exemplars)
    )
    if not size:
        return choice, []
    # Post-ReLU features all point one way; around their mean they differ.
    centre = pool.features.mean(axis=0, keepdims=True)
    embedding = Embedding(pool.features[rest] - centre)
    query_embedding = Embedding(query.features - centre) if len(query) else None
    if choice.gradients and fit.classifier is not None and query_embedding is not None:
        residuals = fit.classifier.residuals(pool.features[rest])
        embedding = Embedding(embedding.features, residuals=residuals)
        query_embedding = Embedding(query_embedding.features, residuals=fit.query_residuals(query))
    seen = None
    if choice.acquisition == "coreset":
        embedding, seen = _leading_components(embedding.features, labelled.features - centre)
    of_rare = choice.acquisition in _OF_RARE and fit.detector is not None
    order = partial(
        select,
        choice.acquisition,
        embedding,
        query_embedding,
        probabilities=(fit.rare_probability if of_rare else fit.probabilities)(pool.features[rest]),
        rare_classes=None if of_rare else fit.rare_columns or None,
        weight=_QUALITY_WEIGHT,
        conditioning=Embedding(counter_exemplars.features - centre) if choice.conditioned else None,
        labelled=seen,
        seed=settings.seed,
    )
    wanted = budget = min(size - len(audit), len(rest))
    picks = within_cap(rest[order(budget=budget).indices], codes, cap, taken=audit)
    while len(picks) < wanted and budget < len(rest):
        budget = min(2 * budget, len(rest))
        picks = within_cap(rest[order(budget=budget).indices], codes, cap, taken=audit)
    sought = Draw.DIVERSE if choice.acquisition in _UNTARGETED else Draw.TARGET
    places, draws = _interleave(picks[:wanted], audit, generator, sought)
    return choice, _explain(places, draws, fit, pool, query)


def _leading_components(pool: NDArray[np.float32], labelled: NDArray[np.float32]) -> tuple[Embedding, Embedding | None]:
    """Project centred features on the pool's leading principal components.

    Distances in all dimensions are mostly noise, and the farthest images mostly odd ones: in the leading
    components a diverse order meets the first rare case earlier (docs/finding-power.md).
    """
    covariance = pool.T @ pool
    _, directions = np.linalg.eigh(covariance.astype(np.float64))
    leading = np.ascontiguousarray(directions[:, ::-1][:, :_DIVERSE_COMPONENTS].astype(np.float32))
    return Embedding(pool @ leading), Embedding(labelled @ leading) if len(labelled) else None


def _interleave(
    picks: NDArray[np.int64], audit: NDArray[np.int64], generator: np.random.Generator, sought: Draw
) -> tuple[NDArray[np.int64], list[Draw]]:
    """Spread the audit draws over the queue, one at a random place of each equal stretch."""
    size = len(picks) + len(audit)
    edges = np.linspace(0, size, len(audit) + 1).astype(int)
    places = {int(generator.integers(low, high)) for low, high in pairwise(edges)}
    chosen, drawn = iter(picks), iter(audit)
    order, draws = [], []
    for place in range(size):
        audited = place in places
        order.append(next(drawn if audited else chosen))
        draws.append(Draw.AUDIT if audited else sought)
    return np.asarray(order, dtype=np.int64), draws


def _explain(
    order: NDArray[np.int64], draws: list[Draw], fit: Fit, pool: FeaturedTasks, query: FeaturedTasks
) -> list[RankedTask]:
    """Say of every queued task what it is most like and what the model believes of it."""
    queued = pool.features[order]
    probabilities = fit.probabilities(queued)
    rare_probabilities = fit.rare_probability(queued)
    similarity = centred_cosine(queued, query.features, pool.features) if len(query) else None
    ranked = []
    for row, (index, draw) in enumerate(zip(order, draws, strict=True)):
        predicted = probability = rare_probability = nearest = likeness = None
        if probabilities is not None:
            best = int(probabilities[row].argmax())
            predicted, probability = fit.classes[best], float(probabilities[row, best])
        if rare_probabilities is not None:
            rare_probability = float(rare_probabilities[row])
        elif probabilities is not None and fit.rare_columns:
            rare_probability = float(probabilities[row, fit.rare_columns].sum())
        if similarity is not None:
            column = int(similarity[row].argmax())
            nearest, likeness = int(query.tasks[column]), float(similarity[row, column])
        task_id = int(pool.tasks[index])
        ranked.append(RankedTask(task_id, draw, predicted, probability, rare_probability, nearest, likeness))
    return ranked
