"""The n × n heart of FLVMI: many tiles, few rows, no memory."""

from __future__ import annotations

import numpy as np
import pytest

from clinical_backend.acquisition import select
from clinical_backend.acquisition.compiled import coverage
from clinical_backend.acquisition.compiled.similarity import Directions, Map
from clinical_backend.acquisition.compiled.threads import Workers
from clinical_backend.acquisition.request import Similarity
from tests.acquisition.oracle import Case, assert_greedy, embeddings


@pytest.mark.parametrize("name", ["flvmi", "flcmi"])
@pytest.mark.parametrize("similarity", ["rescaled", "clipped"])
@pytest.mark.parametrize("classes", [0, 3])
def test_tiles_and_their_mirror_images_cover_every_pair(name, similarity, classes, monkeypatch):
    monkeypatch.setattr(coverage, "_TILE", 17)
    case = Case(*embeddings("clustered", (150, 6, 3), 8, seed=5, classes=classes), similarity=similarity, nu=0.9)
    assert_greedy(case, name, select(name, case.pool, case.query, 20, **case.arguments(name)))


def test_without_memory_for_codes_the_picks_are_the_same(monkeypatch):
    pool, query, _ = embeddings("relu", (300, 10, 1), 16, seed=7)
    with_codes = select("flvmi", pool, query, 30)
    monkeypatch.setattr(coverage, "_SHARE_OF_MEMORY", 0.0)
    without = select("flvmi", pool, query, 30)
    np.testing.assert_array_equal(with_codes.indices, without.indices)
    np.testing.assert_allclose(with_codes.gains, without.gains, rtol=1e-5)


def test_only_promising_candidates_are_computed_exactly(monkeypatch):
    computed = []
    original = coverage.Coverage._evaluate

    def counting(self, candidates):
        computed.append(len(candidates))
        return original(self, candidates)

    monkeypatch.setattr(coverage.Coverage, "_evaluate", counting)
    pool, query, _ = embeddings("relu", (1500, 20, 1), 32, seed=9)
    select("flvmi", pool, query, 20)
    assert sum(computed) < 0.1 * 1500 * 20


def test_a_row_that_is_open_by_the_least_there_is_spoils_no_bound():
    pool, *_ = embeddings("random", (200, 1, 1), 8, seed=4)
    cap = np.full(200, 0.3, np.float32)
    covered = np.where(np.arange(200) % 2, np.nextafter(cap, np.float32(0)), np.float32(0.1)).astype(np.float32)
    similarities = Case(pool, pool, pool, similarity="rescaled").pool_pool
    with Workers() as workers:
        to = Map.of(Similarity.RESCALED, non_negative=True)
        made = coverage.Coverage(Directions(pool, "pool", workers), cap, covered.copy(), to=to, workers=workers)
        for _ in range(20):
            gains = np.maximum(np.minimum(similarities, cap) - covered, 0).sum(axis=1)
            pick, gain = made.best(0.0)
            assert gain == pytest.approx(gains[pick], rel=1e-4)
            assert gain == pytest.approx(gains.max(), rel=1e-4)
            made.add(pick)
            covered = np.maximum(covered, np.minimum(similarities[pick], cap))
