"""One queue for several targets."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical_backend.strategy.several_order import deal

PLACES = st.lists(st.integers(0, 30), unique=True, max_size=31)


@given(st.dictionaries(st.sampled_from("abcde"), PLACES, min_size=1), st.integers(0, 40))
def test_every_place_is_dealt_once_for_a_target_that_asked_for_it(orders, budget):
    picks, serves = deal(orders, budget)
    assert len(set(picks.tolist())) == len(picks) == len(serves)
    assert len(picks) == min(budget, len(set().union(*orders.values())))
    assert all(place in orders[name] for place, names in zip(picks.tolist(), serves, strict=True) for name in names)


@given(st.integers(1, 5), st.integers(1, 20))
def test_targets_with_nothing_in_common_get_equal_parts(count, each):
    orders = {str(name): range(100 * name, 100 * name + 40) for name in range(count)}
    served = Counter(names[0] for names in deal(orders, count * each)[1])
    assert set(served.values()) == {each}


def test_a_place_that_serves_two_counts_for_both_and_leaves_more_to_the_third():
    shared = list(range(10))
    picks, serves = deal({"a": shared, "b": shared, "c": [*range(100, 120)]}, 12)
    assert serves[0] == ("a", "b")
    counts = Counter(name for names in serves for name in names)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert Counter(names[0] for names in serves)["c"] > 12 / 3
    assert len(picks) == 12


def test_a_target_whose_order_ends_leaves_its_places_to_the_others():
    picks, serves = deal({"a": [1, 2], "b": [*range(10, 30)]}, 10)
    assert Counter(names[0] for names in serves) == {"a": 2, "b": 8}
    assert sorted(picks.tolist())[:2] == [1, 2]


@pytest.mark.parametrize("orders", [{}, {"a": []}])
def test_without_places_there_is_nothing_to_deal(orders):
    picks, serves = deal(orders, 5)
    assert (picks.tolist(), serves) == ([], [])
