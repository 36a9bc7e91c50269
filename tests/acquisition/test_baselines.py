"""The baselines: what each one ranks by."""

from __future__ import annotations

import numpy as np
import pytest

from clinical_backend.acquisition import Embedding, select
from clinical_backend.acquisition.baselines.quality_diversity import contenders
from tests.acquisition.oracle import embeddings, unit, vectors

POOL = Embedding(np.random.default_rng(0).standard_normal((4, 3)))
BELIEF = np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.4, 0.3, 0.3], [0.6, 0.1, 0.3]])


@pytest.mark.parametrize(
    ("name", "order"),
    [("entropy", [2, 3, 0, 1]), ("margin", [0, 2, 3, 1]), ("least_confidence", [2, 0, 3, 1])],
)
def test_uncertainty_ranks_by_its_score(name, order):
    assert select(name, POOL, None, 4, probabilities=BELIEF).indices.tolist() == order


def test_entropy_is_in_nats():
    gains = select("entropy", POOL, None, 4, probabilities=BELIEF).gains
    np.testing.assert_allclose(gains[[0, -1]], [-(0.4 * np.log(0.4) + 0.6 * np.log(0.3)), 0], rtol=1e-6, atol=1e-9)


def test_p_rare_sums_the_rare_classes():
    assert select("p_rare", POOL, None, 4, probabilities=BELIEF, rare_classes=[1, 2]).indices.tolist() == [
        2,
        0,
        3,
        1,
    ]
    assert select("p_rare", POOL, None, 2, probabilities=[0.1, 0.3, 0.2, 0.3]).indices.tolist() == [1, 3]


def test_random_depends_on_the_seed_alone():
    pool, _, _ = embeddings("random", (500, 1, 1), 3, seed=0)
    draws = [select("random", pool, None, 20, seed=seed).indices.tolist() for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


def test_nearest_ranks_by_the_nearest_exemplar():
    pool, query, _ = embeddings("clustered", (60, 4, 1), 6, seed=1)
    cosines = (unit(vectors(pool)) @ unit(vectors(query)).T).max(1)
    selection = select("nearest", pool, query, 10, similarity="cosine")
    np.testing.assert_array_equal(selection.indices, np.argsort(-cosines)[:10])
    np.testing.assert_allclose(selection.gains, np.sort(cosines)[::-1][:10], rtol=1e-5)


def test_badge_on_factors_equals_badge_on_built_gradients():
    pool, _, _ = embeddings("clustered", (200, 1, 1), 6, seed=1, classes=4)
    factorised = select("badge", pool, None, 25, seed=3)
    built = select("badge", Embedding(vectors(pool)), None, 25, seed=3)
    np.testing.assert_array_equal(factorised.indices, built.indices)
    np.testing.assert_allclose(factorised.gains, built.gains, rtol=1e-3)


def test_badge_never_draws_a_copy_of_a_pick_while_something_else_is_left():
    features = np.concatenate([np.tile([100.0, 0.0], (500, 1)), [[0.0, 50.0], [-50.0, 0.0]]])
    for seed in range(5):
        assert set(select("badge", Embedding(features), None, 3, seed=seed).indices.tolist()) == {0, 500, 501}


def test_coreset_picks_the_farthest_from_labelled_and_picked():
    pool, labelled, _ = embeddings("random", (80, 5, 1), 4, seed=2)
    rows, centers = pool.features.astype(float), list(labelled.features.astype(float))
    expected = []
    for _ in range(10):
        away = np.min([np.linalg.norm(rows - center, axis=1) for center in centers], axis=0)
        expected.append(int(away.argmax()))
        centers.append(rows[expected[-1]])
    assert select("coreset", pool, None, 10, labelled=labelled).indices.tolist() == expected


def test_typiclust_picks_one_of_each_cluster_and_leaves_labelled_ones_for_last():
    generator = np.random.default_rng(0)
    directions = np.eye(5)
    rows = np.concatenate([10 * one + generator.standard_normal((30, 5)) for one in directions])
    pool = Embedding(rows)
    assert sorted(select("typiclust", pool, None, 5).indices // 30) == [0, 1, 2, 3, 4]
    labelled = Embedding(rows[:2] * 1.01)
    first = select("typiclust", pool, None, 3, labelled=labelled).indices
    assert 0 not in first // 30


def test_typiclust_picks_what_is_in_the_middle_of_its_cluster():
    generator = np.random.default_rng(1)
    rows = 10 * np.eye(6)[0] + generator.standard_normal((60, 6))
    pick = select("typiclust", Embedding(rows), None, 1).indices[0]
    away = np.linalg.norm(unit(rows) - unit(rows).mean(0), axis=1)
    assert away[pick] <= np.quantile(away, 0.3)


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("weight", [0.0, 0.3, 2.0])
def test_quality_diversity_is_greedy_on_its_definition(weight, classes):
    pool, _, _ = embeddings("clustered", (60, 1, 1), 5, seed=3, classes=classes)
    belief = np.random.default_rng(1).random(60).astype(np.float32) ** 3
    kernel = (unit(vectors(pool)) @ unit(vectors(pool)).T + 1) / 2 + 0.5 * np.eye(60)
    selection = select("quality_diversity", pool, None, 8, probabilities=belief, weight=weight, lambda_=0.5)
    picks = []
    for pick, gain in zip(selection.indices.tolist(), selection.gains, strict=True):
        values = [
            -np.inf
            if j in picks
            else np.linalg.slogdet(kernel[np.ix_([*picks, j], [*picks, j])])[1] + weight * np.log(belief[j])
            for j in range(60)
        ]
        before = np.linalg.slogdet(kernel[np.ix_(picks, picks)])[1] if picks else 0.0
        assert values[pick] >= max(values) - 1e-5
        assert gain == pytest.approx(max(values) - before, rel=1e-4, abs=1e-5)
        picks.append(pick)


def test_quality_diversity_picks_zero_probabilities_last():
    pool, _, _ = embeddings("clustered", (30, 1, 1), 5, seed=3)
    belief = np.zeros(30)
    belief[[3, 9]] = 0.2
    selection = select("quality_diversity", pool, None, 30, probabilities=belief)
    assert set(selection.indices[:2].tolist()) == {3, 9}
    assert sorted(selection.indices.tolist()) == list(range(30))


@pytest.mark.parametrize("budget", [0, 8, 60, 80])
def test_quality_diversity_picks_the_same_from_its_contenders_alone(budget):
    generator = np.random.default_rng(3)
    pool = Embedding(generator.standard_normal((60, 5)))
    belief = generator.uniform(size=60) ** 4
    places = contenders(belief, budget, weight=2.0)
    assert len(places) == 60 if budget in {0, 60, 80} else budget <= len(places) < 60
    picks = select("quality_diversity", pool, None, budget, probabilities=belief, weight=2.0).indices
    alone = select("quality_diversity", pool.take(places), None, budget, probabilities=belief[places], weight=2.0)
    assert picks.tolist() == places[alone.indices].tolist()
