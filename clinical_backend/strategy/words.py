"""Words that stand for a finding: what they tell of the pool, until exemplars and labels tell it better."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit, logit, logsumexp

from clinical_backend.learner.backbones.preprocessing import unit
from clinical_backend.strategy.outside import own_cases_worth

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from clinical_backend.learner.backbones.joint_space import JointSpace

__all__ = ["EmbeddedWords", "WordPrior", "WordScores", "word_shares"]

_LEAST_LOGIT = 1e-6
"""Probabilities nearer to 0 and 1 have no meaning in float32."""
_LEAST_DIRECTION = 1e-4
"""Embeddings of a text by two implementations differ by as much: tests/learner/backbones/test_text_tower.py."""
_TELLING = 1.0
"""Standard deviations above the pool's mean from which on a task is said to be like the words: the upper sixth of it,
were the scores Gaussian."""
_LEAST_SHARE = 0.05
"""A smaller share of words, as beside ten own cases, hardly moves a task and is not given as a reason."""


@dataclass(frozen=True, slots=True)
class EmbeddedWords:
    """Phrasings of a finding and contrasts to it, as a text tower places them in the space of images.

    Attributes
    ----------
    finding
        What they stand for.
    texts
        The phrasings.
    phrasings, contrasts
        Their places, each of unit length, shapes (k, p) and (m, p), float32; there may be no contrast.
    """

    finding: str
    texts: tuple[str, ...]
    phrasings: NDArray[np.float32]
    contrasts: NDArray[np.float32]

    def scores(self, space: JointSpace, placed: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the log-odds of the words against the contrasts for each image, shape (n,).

        Those of CLIP's softmax over two texts (Radford et al., ICML 2021), each of them the mean of several (section
        3.1.4 there). Without a contrast they have no zero, and order all the same.

        Parameters
        ----------
        placed
            Images in the space, each of unit length, shape (n, p).
        """
        direction = unit(self.phrasings.mean(axis=0))
        if len(self.contrasts):
            direction -= unit(self.contrasts.mean(axis=0))
        if np.linalg.norm(direction) < _LEAST_DIRECTION:  # the tower reads both alike: rounding would order the pool
            return np.zeros(len(placed), dtype=np.float32)
        scores: NDArray[np.float32] = (np.float32(space.scale) * (placed @ direction)).astype(np.float32)
        return scores

    def nearest(self, placed: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return which of the phrasings each image is nearest to, shape (n,)."""
        nearest: NDArray[np.int64] = np.argmax(placed @ self.phrasings.T, axis=1)
        return nearest


@dataclass(frozen=True, slots=True)
class WordScores:
    """What words tell of the tasks of a pool.

    Attributes
    ----------
    findings
        What is looked for by words.
    texts
        The phrasings of each.
    log_odds
        Of each finding for each task, by its likest image: shape (f, n), float32.
    nearest
        Which phrasing is nearest, shape (f, n).
    cases
        The log-odds of the tasks of the query set, shape (f, q); NaN where they are not known.
    """

    findings: tuple[str, ...]
    texts: tuple[tuple[str, ...], ...]
    log_odds: NDArray[np.float32]
    nearest: NDArray[np.int64]
    cases: NDArray[np.float32]

    def of(self, finding: str, cases: NDArray[np.bool_]) -> WordScores | None:
        """Return those of one finding, if there are any; ``cases`` tells which of the query set stand for it, (q,)."""
        if finding not in self.findings:
            return None
        place = self.findings.index(finding)
        one = slice(place, place + 1)
        return replace(
            self,
            findings=self.findings[one],
            texts=self.texts[one],
            log_odds=self.log_odds[one],
            nearest=self.nearest[one],
            cases=self.cases[one][:, cases],
        )

    def fits(self, finding: str, cases: NDArray[np.bool_]) -> float:
        """Return how far words are borne out by cases of a finding, from 0 to 1.

        What is asked of each case is which share of the pool it stands above: a half, on average, where words tell
        nothing, the area under the ROC curve in all. Beside one imagined case above all others, the mean m is worth
        2 m − 1: so one case at the pool's middle halves what words count, and one at its foot ends it.

        Parameters
        ----------
        cases
            Which of the query set are cases of it, shape (q,).
        """
        row = self.findings.index(finding)
        known = self.cases[row, cases]
        known = known[~np.isnan(known)]
        above = np.searchsorted(np.sort(self.log_odds[row]), known) / max(1, self.log_odds.shape[1])
        return max(0.0, 2.0 * (1.0 + float(above.sum())) / (1.0 + len(above)) - 1.0)


def word_shares(findings: Sequence[str], outside: Sequence[str], own: Mapping[str, int]) -> dict[str, float]:
    """Return how far words tell what a finding looks like, beside cases of it.

    They lie off the images by a shift that all of them share, as exemplars from outside do, however many phrasings
    there are: so the words of a finding count as one such exemplar does
    (:func:`~clinical_backend.strategy.outside.own_cases_worth`).

    Parameters
    ----------
    findings
        Those with words.
    outside
        The finding of each exemplar from outside.
    own
        By finding, how many own cases there are.

    Returns
    -------
    dict
        The share of each, in (0, 1].
    """
    given, alone = Counter(outside), own_cases_worth(1)
    return {name: alone / (alone + own_cases_worth(given[name]) + own.get(name, 0)) for name in findings}


@dataclass(frozen=True, slots=True)
class WordPrior:
    """What words tell of a pool in a round, and how far they are believed.

    Attributes
    ----------
    words
        What they tell.
    shares
        How far those of each finding are believed, in [0, 1].
    share
        How far all of them are.
    """

    words: WordScores
    shares: Mapping[str, float]
    share: float

    @property
    def standing(self) -> NDArray[np.float32]:
        """How far each task stands above the pool's mean, in standard deviations: shape (n,).

        Networks differ in the scale and the zero of their log-odds; how much more one task is like the words than
        others is what all of them tell. Of several findings the likeliest counts most.
        """
        each = np.stack([_standard(row) for row in self.words.log_odds])
        weights = np.array([self.shares[name] for name in self.words.findings])
        if not weights.any():
            return np.zeros(each.shape[1], dtype=np.float32)
        joined: NDArray[np.float32] = logsumexp(each, axis=0, b=(weights / weights.sum())[:, None]).astype(np.float32)
        return joined

    def of(self, believed: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """Return P(rare) of each task, shape (n,), with what is believed of it without words, if anything is.

        The log-odds of both are averaged with the share of the words, which are given the spread that the others have.
        A common zero decides nothing about the order.
        """
        standing = self.standing
        if believed is None:
            alone: NDArray[np.float32] = np.exp(standing - standing.max(initial=0.0))  # log P grows as the log-odds do
            return alone
        learnt = logit(np.clip(believed.astype(np.float64), _LEAST_LOGIT, 1.0 - _LEAST_LOGIT))
        told = learnt.mean() + learnt.std() * standing
        both: NDArray[np.float32] = expit((1.0 - self.share) * learnt + self.share * told).astype(np.float32)
        return both

    def said(self, places: NDArray[np.int64]) -> list[str | None]:
        """Return the phrasing that each task at these places of the pool is like.

        ``None`` where it is like none, or words hardly count.
        """
        each = np.stack([_standard(row)[places] for row in self.words.log_odds])
        each[[self.shares[name] < _LEAST_SHARE for name in self.words.findings]] = -np.inf
        best = each.argmax(axis=0)
        return [
            self.words.texts[row][self.words.nearest[row, place]] if each[row, column] > _TELLING else None
            for column, (place, row) in enumerate(zip(places.tolist(), best.tolist(), strict=True))
        ]


def _standard(row: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return values less their mean, in standard deviations; zeros where all are alike."""
    spread = float(row.std()) if len(row) else 0.0
    return (row - row.mean()) / np.float32(spread) if spread > 0 else np.zeros_like(row)
