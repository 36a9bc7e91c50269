"""Near-copies: told from other images whatever the scale, and never in the way of another image."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical_backend.strategy import copies as copies_module
from clinical_backend.strategy.copies import CopiesLast, NearCopies
from clinical_backend.strategy.tasks import FeaturedTasks, Inputs

SLIGHTLY = 0.05
"""Of the spread between different images."""


def featured(features, first=0, parts=()):
    return FeaturedTasks(np.arange(first, first + len(features)), np.asarray(features, dtype=np.float32), parts)


def images(count, seed=0, dimension=32):
    return np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)


def saved_again(features, seed=1):
    return features + SLIGHTLY * images(len(features), seed, features.shape[1])


def near(pool, labelled=(), query=(), parts=()):
    width = pool.shape[1]
    answered = featured(np.reshape(labelled, (-1, width)), 1000)
    tagged = featured(np.reshape(query, (-1, width)), 2000)
    return NearCopies(Inputs.of(answered, featured(pool, parts=parts), tagged)).of(np.arange(len(pool)))


def test_images_that_differ_are_no_copies_and_one_that_was_saved_again_is():
    pool = images(100)
    assert not any(copies.pool or copies.answered for copies in near(pool))
    found = near(np.concatenate([pool, saved_again(pool[:3])]))
    assert [sorted(copies.pool) for copies in found[:4]] == [[100], [101], [102], []]
    assert [sorted(copies.pool) for copies in found[100:]] == [[0], [1], [2]]


def test_a_copy_of_a_labelled_or_of_a_tagged_image_is_told():
    pool = images(100)
    found = near(pool, labelled=saved_again(pool[:2]), query=saved_again(pool[2:3]))
    assert [place for place, copies in enumerate(found) if copies.answered] == [0, 1, 2]
    assert not any(copies.pool for copies in found)


def test_a_task_that_is_tagged_while_it_waits_is_no_copy_of_itself():
    pool = featured(images(100))
    tagged = pool.those(pool.tasks < 3)
    found = NearCopies(Inputs.of(pool.none(), pool, tagged)).of(np.arange(len(pool)))
    assert not any(copies.pool or copies.answered for copies in found)


@given(st.integers(0, 1000), st.floats(0.01, 100.0), st.integers(40, 60), st.data())
def test_scale_place_and_order_of_the_features_change_nothing(seed, scale, count, data):
    pool = images(count, seed)
    again = np.concatenate([pool, saved_again(pool[:2], seed + 1)])
    moved = np.float32(scale) * (again + images(1, seed + 2))
    shuffled = np.array(data.draw(st.permutations(range(len(again)))))
    found = near(moved[shuffled])
    expected = near(again)
    place_of = np.argsort(shuffled)
    assert {0, 1} <= set(expected[count].pool | expected[count + 1].pool)
    for place, copies in enumerate(expected):
        assert found[place_of[place]].pool == {int(place_of[other]) for other in copies.pool}


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 30), st.integers(0, 1000))
def test_blocks_of_any_size_find_the_same(block, seed):
    pool = images(30, seed)
    again = np.concatenate([pool, saved_again(pool[:2], seed + 1)])
    labelled = saved_again(pool[5:7], seed + 2)
    whole = near(again, labelled)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copies_module, "_BLOCK", block)
        patch.setattr(copies_module, "_AT_ONCE", block)
        assert near(again, labelled) == whole


def test_the_few_images_of_a_kind_of_their_own_are_no_copies_of_each_other():
    own_kind = images(5, seed=3) + 20
    assert not any(copies.pool for copies in near(np.concatenate([own_kind, images(200)])))


def test_only_frozen_features_tell_a_copy():
    pool = images(100)
    joined = np.concatenate([pool, saved_again(pool[:1])])
    apart = np.hstack([joined, images(101, seed=5, dimension=8) * 10])
    assert near(apart, parts=(32, 8))[100].pool == {0}
    alike = np.hstack([images(101), np.repeat(images(1, dimension=8), 101, axis=0)])
    assert not any(copies.pool for copies in near(alike, parts=(32, 8)))


def test_images_that_are_each_near_to_the_next_are_no_copies():
    step = np.arange(60)[:, None] * images(1)
    assert not any(copies.pool for copies in near(step + SLIGHTLY * images(60)))


@pytest.mark.parametrize("count", [0, 1, 10])
def test_among_ten_images_nothing_is_told(count):
    assert not any(copies.pool or copies.answered for copies in near(images(count) * 0.0))


def test_images_that_are_all_alike_are_no_copies():
    assert not any(copies.pool for copies in near(np.ones((50, 8))))


def taken_from(pool, order, wanted, labelled=(), taken=()):
    """Take from an order of all of a pool as a queue does: what comes last only when nothing else is left."""
    last = np.zeros(len(pool), dtype=bool)
    known = featured(np.reshape(labelled, (-1, pool.shape[1])), 1000)
    order = np.array([place for place in order if place not in taken])

    def by_last(budget):
        return np.concatenate([order[~last[order]], order[last[order]]])[:budget]

    def take(ordered, places, budget, *, taken):
        return ordered(min(budget, len(places)))

    copies_last = CopiesLast(take, last, NearCopies(Inputs.of(known, featured(pool))))
    picks = copies_last(by_last, order, wanted, taken=np.array(taken, dtype=np.int64))
    return picks.tolist(), copies_last.count


def test_of_several_copies_the_first_is_taken_and_the_others_come_behind_all_else():
    pool = images(40)
    pool = np.concatenate([pool, saved_again(pool[:4], 1), saved_again(pool[:4], 2)])
    order = [0, 40, 44, 41, 1, *range(2, 40), 45, 42, 43, 46, 47]
    picks, count = taken_from(pool, order, 40)
    assert (picks, count) == ([0, 41, *range(2, 40)], 8)
    everything, _ = taken_from(pool, order, 48)
    assert everything == [*picks, 40, 44, 1, 45, 42, 43, 46, 47]


def test_copies_of_answered_images_come_behind_all_else():
    pool = images(40)
    picks, count = taken_from(pool, range(40), 40, labelled=saved_again(pool[:5]))
    assert (picks, count) == ([*range(5, 40), *range(5)], 5)


def test_what_stands_in_the_queue_stays_and_its_copies_come_behind():
    pool = images(40)
    pool = np.concatenate([pool, saved_again(pool[:2])])
    picks, _ = taken_from(pool, range(42), 42, taken=(40, 0))
    assert picks == [*range(1, 40), 41]
    picks, _ = taken_from(pool, [41, *range(41)], 42, taken=(0, 1))
    assert picks == [*range(2, 40), 41, 40]


@given(st.integers(0, 1000), st.integers(1, 60), st.integers(0, 6))
def test_nothing_is_lost_or_taken_twice(seed, wanted, twins):
    pool = images(40, seed)
    pool = np.concatenate([pool, *(saved_again(pool[:twins], seed + n) for n in (1, 2))])
    order = np.random.default_rng(seed).permutation(len(pool)).tolist()
    picks, _ = taken_from(pool, order, wanted, labelled=saved_again(pool[:1], seed + 3))
    assert len(picks) == len(set(picks)) == min(wanted, len(pool))
    kinds = [place if place < 40 else (place - 40) % max(1, twins) for place in picks]
    assert len(set(kinds)) >= min(wanted, 39)


def test_of_many_images_a_look_in_few_directions_finds_the_same(monkeypatch):
    pool = images(200) * np.linspace(0.2, 3, 32, dtype=np.float32)
    pool = np.concatenate([pool, saved_again(pool[:9]), pool[20:21]])
    labelled, query = saved_again(pool[30:32], 2), saved_again(pool[40:41], 3)
    expected = near(pool, labelled, query)
    assert sum(bool(copies.pool) for copies in expected) >= 18
    assert sum(copies.answered for copies in expected) == 3
    monkeypatch.setattr(copies_module, "_MANY", 0)
    monkeypatch.setattr(copies_module, "_DIRECTIONS", 4)
    monkeypatch.setattr(copies_module, "_BLOCK", 50)
    assert near(pool, labelled, query) == expected


def test_an_image_near_all_others_in_the_directions_looked_at_is_compared_without_a_copy_of_all():
    """Where features vary alike in all directions, no few of them tell what is far."""
    pool = images(30_000, dimension=256)
    pool[1] = saved_again(pool[:1])[0]
    copies = NearCopies(Inputs.of(featured(pool[:1] + 50), featured(pool), featured(pool[:0])))
    tracemalloc.start()
    found = copies.of(np.arange(100))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [sorted(each.pool) for each in found[:3]] == [[1], [0], []]
    assert peak < pool.nbytes
