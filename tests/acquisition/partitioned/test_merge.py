"""The partitioned greedy in one process: whatever the partition, what `select` picks from the whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clinical_backend.acquisition import Embedding, select
from clinical_backend.acquisition.compiled.greedy import largest
from clinical_backend.acquisition.compiled.lazy import Terms, lazy_greedy
from clinical_backend.acquisition.compiled.similarity import Cross
from clinical_backend.acquisition.compiled.threads import Workers
from clinical_backend.acquisition.partitioned import LocalShards, Objective, Shard, select_from
from clinical_backend.acquisition.partitioned.objective import PARTITIONED
from clinical_backend.errors import InvalidArgumentError
from tests.acquisition.oracle import embeddings


def partition(count, shards, generator):
    """Any partition: each point in any shard, some of which may be empty."""
    owner = generator.integers(0, shards, count)
    return [np.flatnonzero(owner == shard) for shard in range(shards)]


def picked(objective, pool, parts, budget):
    return select_from(objective, LocalShards([Shard(objective, pool.take(part), part) for part in parts]), budget)


class Given(Objective):
    """An objective whose similarities are given: then partitioned and whole selection see the very same numbers."""

    def kernel_of(self, pool):
        return np.ascontiguousarray(pool.features[:, : len(self.query)])

    def scores(self, pool):
        return 2 * self.lambda_ * self.kernel_of(pool).sum(axis=1, dtype=np.float64)

    def terms(self, pool, workers):
        kernel = self.kernel_of(pool)
        total = kernel.sum(axis=1)
        if self.name == "flqmi":
            own, memo = np.float32(self.eta) * kernel.max(axis=1), self.memo()
        else:
            own = np.float32(self.eta) * np.log1p(total)
            memo = self.memo(kernel.max(axis=0), kernel.min(axis=0))
        return Terms(Cross(kernel, 2 * kernel.max(axis=1) - 1, total), own, total.copy(), memo)

    def whole(self, pool, budget):
        budget = min(budget, len(pool))
        if self.name == "gcmi":
            return largest(self.scores(pool), budget)
        with Workers() as workers:
            return lazy_greedy(self.terms(pool, workers), budget, workers)


@settings(max_examples=80, deadline=None)
@given(
    name=st.sampled_from(PARTITIONED),
    count=st.integers(1, 60),
    exemplars=st.integers(1, 5),
    shards=st.integers(1, 7),
    budget=st.integers(1, 70),
    levels=st.sampled_from([1, 2, 4, 1000]),
    eta=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 10_000),
)
@example(name="com", count=27, exemplars=1, shards=1, budget=21, levels=1, eta=0.0, seed=0)
def test_any_partition_picks_and_gains_to_the_last_bit_what_the_whole_does(
    name, count, exemplars, shards, budget, levels, eta, seed
):
    """Few levels of similarity make ties and duplicates; a least number of candidates makes several rounds."""
    generator = np.random.default_rng(seed)
    kernel = generator.integers(0, levels + 1, (count, exemplars)) / np.float32(levels)
    kernel[generator.integers(0, count, count // 3)] = kernel[generator.integers(0, count)]
    pool = Embedding(kernel.astype(np.float32))
    objective = Given.of(name, Embedding(np.ones((exemplars, 1))), eta=eta)
    whole = objective.whole(pool, budget)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clinical_backend.acquisition.partitioned.merge._LEAST_CANDIDATES", 4)
        found = picked(objective, pool, partition(count, shards, generator), budget)
    np.testing.assert_array_equal(found.selection.indices, whole.indices)
    np.testing.assert_array_equal(found.selection.gains, whole.gains)
    assert found.selection.saturated_at == whole.saturated_at


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(PARTITIONED),
    kind=st.sampled_from(["random", "clustered", "relu"]),
    sizes=st.tuples(st.integers(1, 300), st.integers(1, 12)),
    classes=st.sampled_from([0, 3]),
    concave=st.sampled_from(["log", "sqrt", "inverse"]),
    similarity=st.sampled_from(["rescaled", "cosine"]),
    budget=st.integers(0, 40),
    shards=st.integers(1, 5),
    seed=st.integers(0, 10_000),
)
def test_features_and_gradients_in_shards_are_picked_as_select_picks_them(
    name, kind, sizes, classes, concave, similarity, budget, shards, seed
):
    pool, query, _ = embeddings(kind, (*sizes, 1), 8, seed, classes)
    options = {"concave": concave, "similarity": similarity, "eta": 0.7}
    whole = select(name, pool, query, budget, **options)
    parts = partition(len(pool), shards, np.random.default_rng(seed))
    found = picked(Objective.of(name, query, **options), pool, parts, budget).selection
    np.testing.assert_array_equal(found.indices, whole.indices)
    np.testing.assert_allclose(found.gains, whole.gains, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("name", PARTITIONED)
def test_few_points_leave_their_shard_when_the_query_set_is_of_one_kind(name):
    """Thousands of points in eight shards: the candidates alone decide, in few rounds."""
    generator = np.random.default_rng(0)
    centres = 4 * generator.standard_normal((6, 24))
    rows = generator.standard_normal((20_010, 24)) + centres[generator.integers(0, 6, 20_010)]
    rows[:10] = generator.standard_normal((10, 24)) + centres[0]
    pool, query = Embedding(rows[10:]), Embedding(rows[:10])
    parts = np.array_split(np.arange(len(pool)), 8)
    found = picked(Objective.of(name, query), pool, parts, 50)
    np.testing.assert_array_equal(found.selection.indices, select(name, pool, query, 50).indices)
    assert sum(found.candidates) < len(pool) / 4
    assert found.received < pool.features.nbytes / 4
    assert found.rounds <= 10
    if name == "gcmi":
        assert (found.rounds, found.candidates) == (1, [50] * 8)


def test_a_proposal_asked_for_twice_is_the_same_though_the_first_answer_was_lost():
    pool, query, _ = embeddings("clustered", (500, 4, 1), 8, 0)
    objective = Objective.of("com", query)
    shard = Shard(objective, pool, np.arange(500))
    none = np.empty(0, np.int64), np.empty((0, 4), np.float32)
    first, again = (shard.propose(0, *none, 20) for _ in range(2))
    np.testing.assert_array_equal(first.candidates.indices, again.candidates.indices)
    later = shard.propose(1, *none, 20)
    assert not set(first.candidates.indices) & set(later.candidates.indices)


def test_what_cannot_be_partitioned_is_refused():
    pool, query, _ = embeddings("random", (10, 2, 1), 4, 0)
    with pytest.raises(InvalidArgumentError, match="flqmi, gcmi, com"):
        Objective.of("flvmi", query)
    with pytest.raises(InvalidArgumentError, match="eta"):
        Objective.of("com", query, eta=-1.0)
    objective = Objective.of("com", query)
    with pytest.raises(InvalidArgumentError, match="ascending"):
        Shard(objective, pool, np.arange(10)[::-1])
    with pytest.raises(InvalidArgumentError, match="query"):
        Shard(objective, Embedding(np.ones((2, 5))), np.arange(2))
    with pytest.raises(InvalidArgumentError, match="budget"):
        select_from(objective, LocalShards([Shard(objective, pool, np.arange(10))]), -1)
