"""Stage 4: order the pool. Which acquisition does it is decided from what the round measured."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cached_property, partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend import multilabel
from clinical_backend.acquisition import ACQUISITIONS, Embedding, select
from clinical_backend.acquisition.baselines.quality_diversity import contenders, quality_diversity
from clinical_backend.origins import Draw
from clinical_backend.strategy.choice import Choice, choose_acquisition
from clinical_backend.strategy.copies import CopiesLast, NearCopies
from clinical_backend.strategy.cosine import centre_of, centred_cosine
from clinical_backend.strategy.diverse import diverse_order
from clinical_backend.strategy.groups import group_codes, within_cap
from clinical_backend.strategy.several_order import deal
from clinical_backend.strategy.tasks import RankedTask
from clinical_backend.strategy.words import WordPrior, word_shares
from clinical_backend.system.pulse import note_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from numpy.typing import NDArray

    from clinical_backend.settings import Settings
    from clinical_backend.strategy.fit import Fit
    from clinical_backend.strategy.target import Target
    from clinical_backend.strategy.tasks import FeaturedTasks, Inputs

__all__ = ["rank"]

_QUALITY_WEIGHT = 3.0
"""Diversity decides among cases that the detector believes in alike; no change was measured between 1 and 4
(docs/finding-power.md)."""


def rank(
    settings: Settings,
    inputs: Inputs,
    target: Target,
    fit: Fit,
    *,
    round_number: int,
    skipped: Collection[int] = (),
) -> tuple[Choice, list[RankedTask]]:
    """Order the best of the pool, with a share of it drawn at random.

    Parameters
    ----------
    inputs
        A diverse order keeps away from what is labelled. The queue holds at most GROUP_CAP tasks of a group: the random
        draws come first, then the order is walked through, and tasks of a full group are passed over. Tasks of a group
        that has GROUP_CAP labelled ones come after all others: a second view of a lesion that is known tells little.
        So do near-copies of answered and of queued tasks; the random draws are made as if there were none.
    round_number
        Together with SEED it fixes the random draws.
    skipped
        Tasks that a reader skipped and others are offered. They take nothing from those who skipped them: the queue
        is longer by their number, at most twice as long, and of more skipped ones those are sought that look rare.

    Returns
    -------
    tuple
        What was chosen, and the queue, best first, min(QUEUE_SIZE, n) long, or as long as GROUP_CAP allows.
    """
    pool = inputs.pool
    generator = np.random.default_rng([settings.seed, round_number])
    passed_over = _rarest_first(np.flatnonzero(np.isin(pool.tasks, list(skipped))), fit, pool)
    surplus = passed_over[settings.queue_size :]
    size = min(settings.queue_size + len(passed_over) - len(surplus), len(pool))
    codes = group_codes(pool.tasks.tolist(), inputs.groups)
    cap = settings.group_cap
    drawn = generator.permutation(len(pool))
    audit = within_cap(drawn, codes, cap, most=round(settings.audit_share * size))
    full = [code for code, count in Counter(codes[audit].tolist()).items() if count >= cap]
    rest = np.setdiff1d(np.flatnonzero(~np.isin(codes, full)), np.concatenate([audit, surplus]))
    seekers = _seekers(settings, target, fit, inputs)
    pick = seekers[0] if len(seekers) == 1 else _Dealer(seekers)
    choice = pick.choice
    if not size:
        return choice, []
    wanted = size - len(audit)
    sought = Draw.TARGET if ACQUISITIONS[choice.acquisition].is_targeted else Draw.DIVERSE
    known = _is_known(pool, inputs, cap)
    capped = CopiesLast(partial(_within_caps, codes=codes, cap=cap), known, NearCopies(inputs))
    picks = capped(partial(_known_last, pick, rest, known), rest, wanted, taken=audit)
    teaching = int(choice.teaches * len(picks))
    exploring = int(choice.explores * (len(picks) - teaching))
    picks = picks[: len(picks) - teaching - exploring]
    sources = [sought] * len(picks)
    for count, another, draw in ((exploring, pick.diverse, Draw.DIVERSE), (teaching, pick.unsure, Draw.MARGIN)):
        if count:
            others = np.setdiff1d(rest, picks)
            ordered = partial(_known_last, another, others, known)
            found = capped(ordered, others, count, taken=np.concatenate([audit, picks]))
            picks, sources = _spread(picks, sources, found, draw)
    order, draws = _interleave(picks, sources, audit, generator)
    ranked = _explain(order, draws, fit, inputs, pick)
    return replace(choice, near_copies=capped.count), ranked


def _rarest_first(places: NDArray[np.int64], fit: Fit, pool: FeaturedTasks) -> NDArray[np.int64]:
    """Order places in the pool by the detector's score, if there is one."""
    scores = fit.rare_probability_in(pool, places) if len(places) else None
    return places if scores is None else places[np.argsort(-scores, kind="stable")]


def _is_known(pool: FeaturedTasks, inputs: Inputs, cap: int) -> NDArray[np.bool_]:
    """Tell of each task of the pool whether so many tasks of its group are labelled, shape (n,)."""
    groups = inputs.groups
    if not groups:
        return np.zeros(len(pool), dtype=np.bool_)
    labelled = Counter(groups[task] for task in inputs.labelled.tasks.tolist() if task in groups)
    full = {group for group, count in labelled.items() if count >= cap}
    return np.array([groups.get(task) in full for task in pool.tasks.tolist()], dtype=np.bool_)


def _known_last(
    order: Callable[[NDArray[np.int64], int], NDArray[np.int64]],
    places: NDArray[np.int64],
    known: NDArray[np.bool_],
    budget: int,
) -> NDArray[np.int64]:
    """Order places, those of known groups behind all others."""
    new, old = places[~known[places]], places[known[places]]
    first = order(new, min(budget, len(new))) if len(new) else new
    return first if budget <= len(new) else np.concatenate([first, order(old, budget - len(new))])


def _seekers(settings: Settings, target: Target, fit: Fit, inputs: Inputs) -> list[_Picker]:
    """Return what orders the pool: one for all that is looked for, or one for each of several findings.

    Findings of which no case is known are left to the others' orders, and to variety.
    """
    found = []
    for name, fitted in fit.by_target.items():
        if fitted.inputs is None:
            continue
        choice = choose_acquisition(settings.acquisition, target.alone(name), fitted, fitted.inputs, settings.goal)
        if ACQUISITIONS[choice.acquisition].is_targeted:
            found.append(_Picker(choice, fitted, fitted.inputs, target.doubt, settings.seed, name))
    if found:
        return found
    choice = choose_acquisition(settings.acquisition, target, fit, inputs, settings.goal)
    return [_Picker(choice, fit, inputs, target.doubt, settings.seed)]


class _Picker:
    """Orders some of the pool by what was chosen."""

    def __init__(self, choice: Choice, fit: Fit, inputs: Inputs, doubt: float, seed: int, target: str = "") -> None:
        self.choice, self.target = choice, target
        self.serves: dict[int, tuple[str, ...]] = {}
        self._choice, self._fit, self._inputs, self._doubt, self._seed = choice, fit, inputs, doubt, seed

    @cached_property
    def centre(self) -> NDArray[np.float32]:
        """The mean of the pool, shape (1, d)."""
        return centre_of(self._inputs.pool.features)

    @cached_property
    def _rarity(self) -> NDArray[np.float32] | None:
        """P(rare) of all of the pool, which each of several orders needs, shape (n,)."""
        note_progress()
        learnt = self._fit.rare_probability_in(self._inputs.pool)
        return learnt if self._prior is None else self._prior.of(learnt)

    @cached_property
    def _prior(self) -> WordPrior | None:
        """What words tell of the pool, as far as they are believed: less where seeking or cases speak against them."""
        words, outside = self._inputs.words, self._inputs.outside
        if words is None or not len(self._inputs.pool):
            return None
        named = np.array([self._fit.labels.get(task, "") for task in self._inputs.query.tasks.tolist()], dtype=object)
        own = Counter(named.tolist())
        shares = word_shares(words.findings, () if outside is None else outside.findings, own)
        believed = {name: share * words.fits(name, named == name) * (1 - self._doubt) for name, share in shares.items()}
        return WordPrior(words, believed, sum(believed.values()) / len({*believed, *own}))

    def words(self, places: NDArray[np.int64]) -> list[str | None]:
        """Return what the tasks at these places are like of what is looked for by words."""
        return [None] * len(places) if self._prior is None else self._prior.said(places)

    def __call__(self, places: NDArray[np.int64], budget: int) -> NDArray[np.int64]:
        """Return the best of these places in the pool, in order."""
        if self._choice.acquisition == "coreset":
            return self.diverse(places, budget)
        fit, pool, tagged, centre = self._fit, self._inputs.pool.features, self._inputs.steering, self.centre
        of_rare = ACQUISITIONS[self._choice.acquisition].of_rare and self._rarity is not None
        if of_rare and self._choice.acquisition == quality_diversity.name:
            assert self._rarity is not None
            places = places[contenders(self._rarity[places], budget, weight=_QUALITY_WEIGHT)]
        features = pool[places]
        # Post-ReLU features all point one way; around their mean they differ.
        embedding = Embedding(features - centre)
        query = Embedding(tagged.features - centre) if len(tagged) else None
        against = self._inputs.counter_exemplars
        conditioning = Embedding(against.features - centre) if self._choice.conditioned else None
        if self._choice.gradients and fit.classifier is not None and query is not None:
            embedding = Embedding(embedding.features, residuals=fit.classifier.residuals(features))
            query = Embedding(query.features, residuals=fit.query_residuals(tagged, self._inputs.outside))
            if conditioning is not None:
                conditioning = Embedding(conditioning.features, residuals=fit.query_residuals(against))
        selection = select(
            self._choice.acquisition,
            embedding,
            query,
            budget,
            probabilities=fit.probabilities(features) if not of_rare or self._rarity is None else self._rarity[places],
            rare_classes=None if of_rare else fit.rare_columns or None,
            weight=_QUALITY_WEIGHT,
            conditioning=conditioning,
            seed=self._seed,
        )
        return places[selection.indices]

    def unsure(self, places: NDArray[np.int64], budget: int) -> NDArray[np.int64]:
        """Return those of these places between whose two likeliest classes the classifier hardly decides, varied.

        As for what is probably rare, with one less the margin in place of P(rare).
        """
        return self.varied(places, self.unsureness(places), budget)

    def unsureness(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return one less the margin between the two likeliest classes of each of these places, shape (n,)."""
        probabilities = self._fit.probabilities(self._inputs.pool.features[places])
        assert probabilities is not None
        top = np.partition(probabilities, -2, axis=1)
        unsureness: NDArray[np.float32] = 1.0 - (top[:, -1] - top[:, -2])
        return unsureness

    def varied(self, places: NDArray[np.int64], quality: NDArray[np.float32], budget: int) -> NDArray[np.int64]:
        """Return those of these places that are of high quality, and varied."""
        pool = self._inputs.pool.features
        embedding = Embedding(pool[places] - self.centre)
        found = select(
            "quality_diversity", embedding, None, budget, probabilities=quality, weight=_QUALITY_WEIGHT
        ).indices
        return places[found]

    def diverse(self, places: NDArray[np.int64], budget: int) -> NDArray[np.int64]:
        """Return those of these places that differ most from each other and from what is labelled."""
        pool, labelled = self._inputs.pool, self._inputs.labelled
        return diverse_order(pool.features, labelled.features, budget, parts=pool.parts, among=places)


class _Dealer:
    """Orders some of the pool for several targets, each of which has an order of its own."""

    def __init__(self, pickers: Sequence[_Picker]) -> None:
        self._pickers = pickers
        self.serves: dict[int, tuple[str, ...]] = {}
        first = pickers[0].choice
        self.choice = replace(
            first,
            conditioned=any(one.choice.conditioned for one in pickers),
            reason="; ".join(f"{one.target}: {one.choice.reason}" for one in pickers),
            explores=float(np.mean([one.choice.explores for one in pickers])),
            teaches=max(one.choice.teaches for one in pickers),
        )

    @property
    def centre(self) -> NDArray[np.float32]:
        """The mean of the pool, shape (1, d)."""
        return self._pickers[0].centre

    def __call__(self, places: NDArray[np.int64], budget: int) -> NDArray[np.int64]:
        """Return the best of these places in the pool, dealt out to the targets."""
        orders = {one.target: one(places, budget).tolist() for one in self._pickers}
        picks, serves = deal(orders, budget)
        self.serves.update(zip(picks.tolist(), serves, strict=True))
        return picks

    def words(self, places: NDArray[np.int64]) -> list[str | None]:
        """Return what the tasks at these places are like of what is looked for by words."""
        of_each = (one.words(places) for one in self._pickers)
        return [next(filter(None, said), None) for said in zip(*of_each, strict=True)]

    def unsure(self, places: NDArray[np.int64], budget: int) -> NDArray[np.int64]:
        """Return those of these places of which it is hardly decided whether they show one of the targets, varied."""
        of_each = [one.unsureness(places) for one in self._pickers if one.choice.teaches]
        return self._pickers[0].varied(places, np.max(of_each, axis=0), budget)

    def diverse(self, places: NDArray[np.int64], budget: int) -> NDArray[np.int64]:
        """Return those of these places that differ most from each other and from what is labelled."""
        return self._pickers[0].diverse(places, budget)


def _within_caps(
    order: Callable[[int], NDArray[np.int64]],
    places: NDArray[np.int64],
    wanted: int,
    *,
    codes: NDArray[np.int64],
    cap: int,
    taken: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Take as many as are wanted of an order of these places, as far as the caps of groups allow."""
    budget = min(wanted, len(places))
    picks = within_cap(order(budget), codes, cap, taken=taken)
    while len(picks) < wanted and budget < len(places):
        budget = min(2 * budget, len(places))
        picks = within_cap(order(budget), codes, cap, taken=taken)
    return picks[:wanted]


def _spread(
    kept: NDArray[np.int64], sources: Sequence[Draw], others: NDArray[np.int64], draw: Draw
) -> tuple[NDArray[np.int64], list[Draw]]:
    """Spread other picks, all of one draw, evenly over what is kept."""
    places = np.arange(len(kept) + len(others))
    share = len(others) / max(1, len(places))
    is_other = np.floor((places + 1) * share + 1e-9) > np.floor(places * share + 1e-9)
    mixed = np.empty(len(places), dtype=np.int64)
    mixed[~is_other], mixed[is_other] = kept, others
    of_kept = iter(sources)
    return mixed, [draw if other else next(of_kept) for other in is_other]


def _interleave(
    picks: NDArray[np.int64], sources: Sequence[Draw], audit: NDArray[np.int64], generator: np.random.Generator
) -> tuple[NDArray[np.int64], list[Draw]]:
    """Spread the audit draws over the queue, one at a random place of each equal stretch."""
    size = len(picks) + len(audit)
    edges = np.linspace(0, size, len(audit) + 1).astype(int)
    places = {int(generator.integers(low, high)) for low, high in pairwise(edges)}
    chosen, drawn = iter(zip(picks, sources, strict=True)), iter((task, Draw.AUDIT) for task in audit)
    mixed = [next(drawn if place in places else chosen) for place in range(size)]
    return np.asarray([task for task, _ in mixed], dtype=np.int64), [draw for _, draw in mixed]


def _explain(
    order: NDArray[np.int64], draws: list[Draw], fit: Fit, inputs: Inputs, pick: _Picker | _Dealer
) -> list[RankedTask]:
    """Say of every queued task what it is most like and what the model believes of it."""
    pool, query = inputs.pool, inputs.steering
    queued = pool.features[order]
    probabilities = fit.probabilities(queued)
    rare_probabilities = fit.rare_probability_in(pool, order)
    similarity = centred_cosine(queued, query.features, pick.centre) if len(query) else None
    if similarity is not None:
        itself = pool.tasks[order][:, None] == query.tasks[None, :]  # tagged while it waits: no reason to anybody
        similarity[itself] = -np.inf
    words = pick.words(order)
    ranked = []
    for row, (index, draw) in enumerate(zip(order, draws, strict=True)):
        predicted = probability = rare_probability = nearest = likeness = None
        if probabilities is not None and fit.tells_findings:
            predicted = multilabel.predicted(fit.classes, probabilities[row], fit.findings)
        elif probabilities is not None:
            best = int(probabilities[row].argmax())
            predicted, probability = fit.classes[best], float(probabilities[row, best])
        if rare_probabilities is not None:
            rare_probability = float(rare_probabilities[row])
        elif probabilities is not None and fit.rare_columns:
            of_each = probabilities[row, fit.rare_columns]
            rare_probability = float(of_each.max() if fit.by_target else of_each.sum())
        if similarity is not None:
            column = int(similarity[row].argmax())
            if np.isfinite(similarity[row, column]):
                nearest, likeness = int(query.tasks[column]), float(similarity[row, column])
        task_id = int(pool.tasks[index])
        ranked.append(
            RankedTask(
                task_id,
                draw,
                predicted,
                probability,
                rare_probability,
                nearest,
                likeness,
                targets=pick.serves.get(int(index), ()) if draw is Draw.TARGET else (),
                words=words[row] if draw is Draw.TARGET else None,
            )
        )
    return ranked
