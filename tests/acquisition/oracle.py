"""The functions by their definitions, in float64 and by brute force; and data to try them on."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from clinical_backend.acquisition import ACQUISITIONS, Embedding

if TYPE_CHECKING:
    from collections.abc import Callable

CONCAVE: dict[str, Callable[[Any], Any]] = {
    "log": np.log1p,
    "sqrt": np.sqrt,
    "inverse": lambda x: 1 - 1 / (1 + x),
}


@dataclass
class Case:
    """A pool, a query set and a private set, with every similarity between them."""

    pool: Embedding
    query: Embedding
    private: Embedding
    similarity: str = "rescaled"
    eta: float = 1.0
    lambda_: float = 1.0
    nu: float = 1.0
    concave: str = "log"

    def __post_init__(self):
        self.n, self.q = len(self.pool), len(self.query)
        sets = [vectors(each) for each in (self.pool, self.query, self.private)]
        self.every = self.map(unit(np.concatenate(sets)) @ unit(np.concatenate(sets)).T)
        self.pool_pool = self.every[: self.n, : self.n]
        self.pool_query = self.every[: self.n, self.n : self.n + self.q]
        self.pool_private = self.every[: self.n, self.n + self.q :]

    def map(self, cosines):
        return {"cosine": cosines, "rescaled": (cosines + 1) / 2, "clipped": np.maximum(cosines, 0)}[self.similarity]

    def arguments(self, name):
        """What `select` needs for a function."""
        conditional = "conditioning" in ACQUISITIONS[name].needs
        return {
            "eta": self.eta, "lambda_": self.lambda_, "nu": self.nu, "concave": self.concave,
            "similarity": self.similarity, "conditioning": self.private if conditional else None,
        }  # fmt: skip

    def value(self, name, picks):
        """f(picks), by the definition."""
        picks = list(picks)
        if not picks:
            return 0.0
        return getattr(self, f"_{name}")(picks)

    def gains(self, name, picks):
        """The gain of every point, minus infinity for the picks themselves."""
        before = self.value(name, picks)
        return np.array([-np.inf if j in picks else self.value(name, [*picks, j]) - before for j in range(self.n)])

    def _flqmi(self, picks):
        rows = np.maximum(self.pool_query[picks], 0)
        return rows.max(0).sum() + self.eta * rows.max(1).sum()

    def _gcmi(self, picks):
        return 2 * self.lambda_ * self.pool_query[picks].sum()

    def _com(self, picks):
        psi = CONCAVE[self.concave]
        rows = np.maximum(self.pool_query[picks], 0)
        return self.eta * psi(rows.sum(1)).sum() + psi(rows.sum(0)).sum()

    def _flvmi(self, picks):
        covered = np.maximum(self.pool_pool[:, picks], 0).max(1)
        return np.minimum(covered, self.eta * np.maximum(self.pool_query, 0).max(1)).sum()

    def _flcmi(self, picks):
        covered = np.maximum(self.pool_pool[:, picks], 0).max(1)
        capped = np.minimum(covered, self.eta * np.maximum(self.pool_query, 0).max(1))
        return np.maximum(capped - self.nu * np.maximum(self.pool_private, 0).max(1), 0).sum()

    def _logdetmi(self, picks):
        return self._information(picks, [])

    def _logdetcmi(self, picks):
        return self._information(picks, list(range(self.n + self.q, len(self.every))))

    def _information(self, picks, private):
        """F(A ∪ P) + F(Q ∪ P) − F(A ∪ Q ∪ P) − F(P) with F = log det on the scaled matrix."""
        matrix = self.every.copy()
        query = list(range(self.n, self.n + self.q))
        for group, factor in ((query, self.eta), (private, self.nu)):
            matrix[np.ix_(range(self.n), group)] *= factor
            matrix[np.ix_(group, range(self.n))] *= factor
        matrix += self.lambda_ * np.eye(len(matrix))

        def logdet(rows):
            return np.linalg.slogdet(matrix[np.ix_(rows, rows)])[1] if rows else 0.0

        return logdet(picks + private) + logdet(query + private) - logdet(picks + query + private) - logdet(private)


def vectors(embedding):
    """The vectors of an embedding, gradients built in full."""
    features = embedding.features.astype(np.float64)
    if embedding.residuals is None:
        return features
    residuals = embedding.residuals.astype(np.float64)
    biased = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    return (residuals[:, :, None] * biased[:, None, :]).reshape(len(features), -1)


def unit(rows):
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1)


def points(kind, count, dimension, generator):
    """Random, clustered or post-ReLU features."""
    rows = generator.standard_normal((count, dimension))
    if kind != "random":
        rows += 2 * generator.standard_normal((4, dimension))[generator.integers(0, 4, count)]
    return np.maximum(rows, 0) if kind == "relu" else rows


def embeddings(kind, sizes, dimension, seed, classes=0):
    """Embeddings of the sizes wanted, with residuals if there are classes."""
    generator = np.random.default_rng(seed)
    features = points(kind, sum(sizes), dimension, generator)
    logits = generator.standard_normal((sum(sizes), max(classes, 1)))
    softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    residuals = softmax - np.eye(max(classes, 1))[generator.integers(0, max(classes, 1), sum(sizes))]
    edges = np.cumsum([0, *sizes])
    return [
        Embedding(features[start:stop], residuals[start:stop] if classes else None) for start, stop in pairwise(edges)
    ]


def assert_greedy(case, name, selection, tolerance=1e-4):
    """Each pick has the largest gain up to rounding, and its gain is right."""
    scale = max(abs(case.gains(name, []).max()), 1e-3)
    picks: list[int] = []
    for pick, gain in zip(selection.indices.tolist(), selection.gains.tolist(), strict=True):
        gains = case.gains(name, picks)
        slack = tolerance * abs(gains.max()) + 2e-6 * scale
        assert gains[pick] >= gains.max() - slack, (name, len(picks), pick, gains[pick], gains.max())
        assert abs(gain - gains[pick]) <= slack, (name, len(picks), gain, gains[pick])
        picks.append(pick)
