"""What is compared: the live round's own choice, every acquisition function, baselines of the papers, the oracle."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import entr

from clinical_backend.acquisition import ACQUISITIONS, FUNCTIONS, Embedding, select
from clinical_backend.errors import InvalidArgumentError
from clinical_backend.lab.experiments.baselines import Known, direct, galaxy, positive_first
from clinical_backend.learner.classifier.coordinates import lengths
from clinical_backend.multilabel import has_any
from clinical_backend.origins import Draw
from clinical_backend.strategy.kept_whitening import whitening_of
from clinical_backend.strategy.order import rank
from clinical_backend.strategy.several_order import deal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from clinical_backend.settings import Settings
    from clinical_backend.strategy.fit import Fit
    from clinical_backend.strategy.target import Target
    from clinical_backend.strategy.tasks import Inputs, RankedTask

__all__ = ["BY_WORDS", "LIVE", "STRATEGIES", "Situation", "is_live", "learned_embeddings", "needs_detector", "order"]

LIVE = "auto"
BY_WORDS = "auto@words"
_FOR_CLASSIFIER = "auto@classifier"
_PLAIN = tuple(name for name in FUNCTIONS if "conditioning" not in ACQUISITIONS[name].needs)

_WITHOUT_LABELS = frozenset({"random", "coreset", "typiclust"})
_FALLBACKS = {"pfma": "flqmi", "galaxy": "random", "direct": "random"}
"""What baselines that no project may choose begin with, until a classifier knows what they go by."""

STRATEGIES = (
    LIVE,
    _FOR_CLASSIFIER,
    BY_WORDS,
    "oracle",
    *_FALLBACKS,
    *(name for name in ACQUISITIONS if name not in FUNCTIONS),
    *(f"{name}@features" for name in _PLAIN),
    *(f"{name}@distil" for name in _PLAIN),
    *(f"{name}@learned" for name in _PLAIN),
    "p_rare@learned",
)
"""``auto`` is the live round, ``auto@classifier`` the same with GOAL=classifier, ``auto@words`` the same with words for
what is rare, where there are some. ``NAME@features`` is an SMI function
on features, ``NAME@distil`` as DISTIL runs it: on gradients under the most likely labels, whatever the classifier is
worth. ``NAME@learned`` goes by what the live round's detector learnt. ``oracle`` knows the truth."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What a strategy may look at when it orders the pool.

    Attributes
    ----------
    settings, target, fitted, inputs
        As in the live round.
    number
        Of the round.
    rare
        Whether each task of the pool is rare, for the oracle.
    classes
        Class of each task of the pool, for baselines whose reader answers within a batch.
    """

    settings: Settings
    target: Target
    fitted: Fit
    inputs: Inputs
    number: int
    rare: NDArray[np.bool_]
    classes: Sequence[str]


def needs_detector(strategy: str) -> bool:
    """Tell whether a strategy goes by the detector of the live round, which learns from the pool as well."""
    return is_live(strategy) or strategy.endswith("@learned")


def is_live(strategy: str) -> bool:
    """Tell whether a strategy is the live round's own."""
    return strategy in {LIVE, _FOR_CLASSIFIER, BY_WORDS}


def order(
    strategy: str,
    situation: Situation,
    budget: int,
    witness: Callable[[Situation, Sequence[RankedTask]], None] | None = None,
) -> tuple[NDArray[np.int64], list[Draw], str]:
    """Return the places in the pool of the next ``budget`` tasks, why each is there, and what chose them.

    A strategy that needs a classifier goes by the exemplars (FLQMI on features) while there is none that
    knows rare and common classes; one that seeks no class is random until then.

    Raises
    ------
    InvalidArgumentError
        When there is no such strategy.
    """
    if strategy not in STRATEGIES:
        raise InvalidArgumentError(
            "strategy", f"there is no strategy {strategy!r}.", f"Choose one of {', '.join(STRATEGIES)}."
        )
    if is_live(strategy):
        if strategy == _FOR_CLASSIFIER:
            situation = replace(situation, settings=situation.settings.model_copy(update={"goal": "classifier"}))
        return _live(situation, budget, witness)
    draws = [Draw.TARGET if situation.target.query else Draw.DIVERSE] * budget
    if strategy == "oracle":
        return np.argsort(~situation.rare, kind="stable")[:budget], draws, strategy
    if situation.fitted.by_target and strategy not in _WITHOUT_LABELS:
        return _of_several(strategy, situation, budget), draws, strategy
    name, way = _feasible(strategy, situation)
    if name in _FALLBACKS:
        return _baseline(name, situation, budget), draws, name
    return _selected(name, way, situation, budget), draws, f"{name}@{way}" if way else name


def _feasible(strategy: str, situation: Situation) -> tuple[str, str]:
    """Return the strategy that can be followed with what is known, and on what: features, gradients or neither."""
    name, _, way = strategy.partition("@")
    fitted = situation.fitted
    believes = fitted.classifier is not None and 0 < len(fitted.rare_columns) < len(fitted.classes)
    if name in _FALLBACKS:
        if believes if name == "pfma" else fitted.classifier is not None:
            return name, ""
        name = _FALLBACKS[name]
    wanted = ACQUISITIONS[name]
    if way == "learned":
        return (name, way) if fitted.detector is not None else ("random", "")
    way = way or ("features" if wanted.needs_query else "")
    if (wanted.of_rare or way) and not (believes and (wanted.of_rare or way == "distil")):
        name, way = (name if way == "features" else "flqmi"), "features"
    elif wanted.needs_classifier and fitted.classifier is None:
        name = "random"
    if way == "features" and not len(situation.inputs.query):
        name, way = "random", ""
    return name, way


def _of_several(strategy: str, situation: Situation, budget: int) -> NDArray[np.int64]:
    """Order by binary relevance: uncertainty summed over all findings, all else finding by finding and dealt out."""
    fitted, pool = situation.fitted, situation.inputs.pool
    if strategy == "entropy" and fitted.classifier is not None:
        believed = fitted.classifier.probabilities(pool.features).astype(np.float64)
        return np.argsort(-_entropies(believed).sum(axis=1), kind="stable")[:budget]
    orders = {}
    for name, one in fitted.by_target.items():
        assert one.inputs is not None
        inputs = one.inputs
        if not len(inputs.pool):  # labels alone were fitted, where the strategy needs no detector
            query = situation.inputs.query
            stands = query.those(np.isin(query.tasks, situation.target.queries[name]))
            inputs = replace(situation.inputs, labelled=inputs.labelled, query=stands)
        classes = [name if has_any(label, [name]) else "" for label in situation.classes]
        alone = replace(situation, target=situation.target.alone(name), fitted=one, inputs=inputs, classes=classes)
        orders[name] = order(strategy, alone, budget)[0].tolist()
    return deal(orders, budget)[0]


def _entropies(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the entropy of each event, in nats."""
    entropies: NDArray[np.float64] = entr(probabilities) + entr(1.0 - probabilities)
    return entropies


def _selected(name: str, way: str, situation: Situation, budget: int) -> NDArray[np.int64]:
    fitted, inputs = situation.fitted, situation.inputs
    pool, tagged, labelled = inputs.pool, inputs.query, inputs.labelled
    embedding, query = Embedding(pool.features), None
    if way == "features":
        centre = pool.features.mean(axis=0, keepdims=True)
        embedding, query = Embedding(pool.features - centre), Embedding(tagged.features - centre)
    elif way == "distil" or ACQUISITIONS[name].on_gradients:
        assert fitted.classifier is not None
        embedding = Embedding(pool.features, residuals=fitted.classifier.residuals(pool.features))
        query = Embedding(tagged.features, residuals=fitted.query_residuals(tagged))
    of_rare = way == "learned" and name == "p_rare"
    if way == "learned":
        embedding, query = learned_embeddings(fitted, inputs)
    return select(
        name,
        embedding,
        query,
        budget=budget,
        similarity="cosine" if way == "learned" else "rescaled",
        probabilities=fitted.rare_probability_in(pool) if of_rare else fitted.probabilities(pool.features),
        rare_classes=None if of_rare else fitted.rare_columns or None,
        labelled=Embedding(labelled.features) if len(labelled) else None,
        seed=_seed(situation),
    ).indices


def learned_embeddings(fitted: Fit, inputs: Inputs) -> tuple[Embedding, Embedding]:
    """Return pool and query set so embedded that their cosines are the similarity that the detector learnt.

    s(a, x) = Σ_c √(P_c(a) P_c(x)) · (1 + k(a, x)) / 2, in [0, 1]: how far the detector believes both to be of one class
    (Bhattacharyya's coefficient), times the rescaled cosine k of half-whitened features, in which it learnt. Of a
    labelled exemplar P is 1 for its class, so it draws those that are believed to be of that class alone. The two
    factors are those of a gradient embedding, of which the first may be any vector.
    """
    detector, pool, query = fitted.detector, inputs.pool, inputs.query
    assert detector is not None
    classes = detector.classifier.classes
    whitening = whitening_of([pool, inputs.labelled, query])
    centre = (pool.features / lengths(pool.features)).mean(axis=0)

    def embedding(features: NDArray[np.float32], beliefs: NDArray[np.float32]) -> Embedding:
        whitened = (features / lengths(features) - centre) @ whitening
        return Embedding(whitened / lengths(whitened), residuals=np.sqrt(beliefs))

    beliefs = detector.classifier.probabilities(query.features)
    for row, task in enumerate(query.tasks.tolist()):
        if (label := fitted.labels.get(task)) in classes:
            beliefs[row] = np.arange(len(classes)) == classes.index(label)
    return embedding(pool.features, detector.classifier.probabilities(pool.features)), embedding(
        query.features, beliefs
    )


def _baseline(name: str, situation: Situation, budget: int) -> NDArray[np.int64]:
    fitted, inputs = situation.fitted, situation.inputs
    assert fitted.classifier is not None
    pool = fitted.classifier.probabilities(inputs.pool.features).astype(np.float64)
    if name == "pfma":
        return positive_first(pool[:, fitted.rare_columns].sum(axis=1), budget)
    columns = {known: column for column, known in enumerate(fitted.classes)}
    known = Known(
        pool,
        fitted.classifier.probabilities(inputs.labelled.features).astype(np.float64),
        np.asarray([columns[fitted.labels[int(task)]] for task in inputs.labelled.tasks], dtype=np.int64),
    )
    on_lines = galaxy if name == "galaxy" else direct
    return on_lines(known, lambda place: columns.get(situation.classes[place], -1), budget, seed=_seed(situation))


def _seed(situation: Situation) -> int:
    return situation.settings.seed * 1000 + situation.number


def _live(
    situation: Situation,
    budget: int,
    witness: Callable[[Situation, Sequence[RankedTask]], None] | None,
) -> tuple[NDArray[np.int64], list[Draw], str]:
    """Return the head of the live round's queue, which holds at least what is labelled before the next round."""
    length = max(budget, situation.settings.queue_size)
    choice, ranked = rank(
        situation.settings.model_copy(update={"queue_size": length}),
        situation.inputs,
        situation.target,
        situation.fitted,
        round_number=situation.number,
    )
    ranked = ranked[:budget]
    if witness is not None:
        witness(situation, ranked)
    places = {int(task): place for place, task in enumerate(situation.inputs.pool.tasks)}
    order = np.asarray([places[item.task_id] for item in ranked], dtype=np.int64)
    return order, [item.draw for item in ranked], choice.acquisition
