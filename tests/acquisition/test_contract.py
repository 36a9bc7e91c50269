"""What every function and every baseline keeps to."""

from __future__ import annotations

import numpy as np
import pytest

from clinical_backend.acquisition import ACQUISITIONS, NAMES, Embedding, select
from clinical_backend.errors import InvalidArgumentError
from tests.acquisition.oracle import embeddings


def needing(argument):
    return {name for name, one in ACQUISITIONS.items() if argument in one.needs}


CONDITIONAL, NEED_QUERY, NEED_BELIEF = map(needing, ("conditioning", "query", "probabilities"))
LOOK_AT_FEATURES = {*ACQUISITIONS} - {"entropy", "least_confidence", "margin", "p_rare", "random"}
IGNORE_RESIDUALS = {"coreset", "typiclust"}
DRAW = {"random", "badge"}


def call(name, sets, budget=7, **changes):
    """Call a strategy with all that it needs."""
    pool, query, private = sets
    belief = np.random.default_rng(5).random((len(pool), 3)).astype(np.float32)
    needs = ACQUISITIONS[name].needs
    arguments = {
        "conditioning": private if "conditioning" in needs else None,
        "probabilities": belief / belief.sum(1, keepdims=True) if "probabilities" in needs else None,
        "rare_classes": [1],
    }
    return select(name, pool, query if "query" in needs else None, budget, **(arguments | changes))


@pytest.fixture(params=[0, 3], ids=["features", "gradients"])
def sets(request):
    return embeddings("clustered", (60, 4, 3), 8, seed=2, classes=request.param)


@pytest.mark.parametrize("name", NAMES)
class TestEveryAcquisition:
    def test_picks_distinct_rows_with_finite_gains(self, name, sets):
        selection = call(name, sets)
        assert selection.indices.dtype == np.int64
        assert selection.gains.dtype == np.float64
        assert selection.indices.shape == selection.gains.shape == (7,)
        assert len(set(selection.indices.tolist())) == 7
        assert ((selection.indices >= 0) & (selection.indices < 60)).all()
        assert np.isfinite(selection.gains).all()

    def test_is_reproducible(self, name, sets):
        first, second = call(name, sets), call(name, sets)
        np.testing.assert_array_equal(first.indices, second.indices)
        np.testing.assert_array_equal(first.gains, second.gains)

    def test_a_smaller_budget_is_a_prefix_or_a_selection_of_its_own_size(self, name, sets):
        small, large = call(name, sets, budget=3), call(name, sets, budget=9)
        assert len(small) == 3
        if name != "typiclust":  # its clusters depend on the budget
            np.testing.assert_array_equal(small.indices, large.indices[:3])

    @pytest.mark.parametrize("budget", [60, 61, 10_000])
    def test_a_budget_beyond_the_pool_picks_all_of_it(self, name, sets, budget):
        assert sorted(call(name, sets, budget=budget).indices.tolist()) == list(range(60))

    def test_a_budget_of_zero_picks_nothing(self, name, sets):
        assert len(call(name, sets, budget=0)) == 0

    def test_an_empty_pool_gives_an_empty_selection(self, name, sets):
        assert len(call(name, [sets[0].take(slice(0, 0)), *sets[1:]])) == 0

    def test_a_pool_of_one_is_picked(self, name, sets):
        assert call(name, [sets[0].take([4]), *sets[1:]]).indices.tolist() == [0]

    @pytest.mark.parametrize("budget", [-1, 2.5, "3", None, True])
    def test_a_budget_that_is_no_count_is_refused(self, name, sets, budget):
        with pytest.raises(InvalidArgumentError, match="budget"):
            call(name, sets, budget=budget)

    def test_duplicates_are_points_of_their_own(self, name, sets):
        pool = sets[0].take(np.repeat(np.arange(10), 3))
        assert sorted(call(name, [pool, *sets[1:]], budget=30).indices.tolist()) == list(range(30))

    def test_rows_of_zeros_are_accepted(self, name, sets):
        features = sets[0].features.copy()
        features[:50] = 0
        pool = Embedding(features, sets[0].residuals)
        assert sorted(call(name, [pool, *sets[1:]], budget=60).indices.tolist()) == list(range(60))

    def test_what_it_needs_is_asked_for_by_name(self, name, sets):
        for argument, names in (("probabilities", NEED_BELIEF), ("conditioning", CONDITIONAL)):
            if name in names:
                with pytest.raises(InvalidArgumentError, match=argument):
                    call(name, sets, **{argument: None})
        if name in NEED_QUERY:
            with pytest.raises(InvalidArgumentError, match="query"):
                select(name, sets[0], None, 3, conditioning=sets[2] if name in CONDITIONAL else None)

    def test_the_arguments_are_left_as_they_were(self, name, sets):
        before = [(each.features.copy(), each.residuals) for each in sets]
        call(name, sets)
        for each, (features, _) in zip(sets, before, strict=True):
            np.testing.assert_array_equal(each.features, features)


@pytest.mark.parametrize("name", sorted(set(NAMES) - DRAW))
def test_of_equal_points_the_lowest_index_is_picked_first(name, sets):
    pool = sets[0].take(np.zeros(2100, np.int64))
    belief = np.full((2100, 3), 1 / 3, np.float32)
    changes = {"probabilities": belief} if name in NEED_BELIEF else {}
    assert call(name, [pool, *sets[1:]], budget=4, **changes).indices.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("name", sorted(LOOK_AT_FEATURES))
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_is_refused_where_features_are_used(name, sets, value):
    features = sets[0].features.copy()
    features[17, 3] = value
    with pytest.raises(InvalidArgumentError, match=r"pool.*(NaN|infinite)"):
        call(name, [Embedding(features, sets[0].residuals), *sets[1:]])


@pytest.mark.parametrize("name", sorted(LOOK_AT_FEATURES - IGNORE_RESIDUALS))
def test_a_residual_that_is_not_finite_is_refused_where_residuals_are_used(name):
    sets = embeddings("clustered", (60, 4, 3), 8, seed=2, classes=3)
    residuals = sets[0].residuals.copy()
    residuals[17, 1] = np.nan
    with pytest.raises(InvalidArgumentError, match="pool"):
        call(name, [Embedding(sets[0].features, residuals), *sets[1:]])


@pytest.mark.parametrize("name", sorted(NEED_QUERY))
def test_an_empty_query_set_is_refused_where_it_is_used(name, sets):
    with pytest.raises(InvalidArgumentError, match="query"):
        call(name, [sets[0], sets[1].take(slice(0, 0)), sets[2]])
