"""All pairs of near-copies: those that comparing all with all tells, whatever is compared first."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from clinical_backend.strategy import copies as copies_module
from clinical_backend.strategy import copy_pairs
from clinical_backend.strategy.copies import NearCopies
from clinical_backend.strategy.copy_pairs import near_copy_pairs
from tests.strategy.test_copies import featured, images, saved_again


def exhaustive(tasks, share=0.4):
    """Compare all with all, in float64, by what a near-copy is."""
    features = tasks.first_part().features.astype(np.float64)
    distances = ((features[:, None] - features[None]) ** 2).sum(axis=2)
    np.fill_diagonal(distances, np.inf)
    ordered = np.sort(distances, axis=1)
    sample = np.unique(np.linspace(0, len(features) - 1, 64).astype(int))
    fifth, usual = np.median(ordered[sample][:, [4, 9]], axis=0)
    if fifth < 0.7 * usual:
        return []
    near = distances < share * np.minimum(ordered[:, 9:10], usual)
    return [(int(tasks.tasks[one]), int(tasks.tasks[other])) for one, other in np.argwhere(near)]


def found(tasks):
    return [tuple(pair) for pair in near_copy_pairs(tasks).tolist()]


def test_images_that_were_saved_again_are_told_by_their_tasks():
    some = images(60)
    pairs = near_copy_pairs(featured(np.concatenate([some, saved_again(some[:2])]), first=500))
    assert pairs.tolist() == [[500, 560], [501, 561], [560, 500], [561, 501]]


@settings(max_examples=60)
@given(
    count=st.integers(12, 80),
    again=st.lists(st.tuples(st.integers(0, 11), st.integers(1, 13), st.just(0.0) | st.floats(0.05, 0.6)), max_size=5),
    decay=st.floats(0, 1.5),
    kinds=st.integers(1, 3),
    seed=st.integers(0, 10_000),
)
def test_they_are_those_that_comparing_all_with_all_tells(count, again, decay, kinds, seed):
    """Some images are there up to thirteen times, changed by nothing to much, some features vary in few directions."""
    generator = np.random.default_rng(seed)
    spread = np.arange(1, 33) ** -decay
    pool = generator.normal(size=(count, 32)) * spread + 2.0 * generator.integers(0, kinds, (count, 1))
    twins = [pool[place] + strength * spread * generator.normal(size=(times, 32)) for place, times, strength in again]
    tasks = featured(generator.permutation(np.concatenate([pool, *twins])), first=7)
    expected = exhaustive(tasks)
    assume(exhaustive(tasks, 0.399) == exhaustive(tasks, 0.401) == expected)  # float32 decides what is so close
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copy_pairs, "_AT_ONCE", 16)
        patch.setattr(copy_pairs, "_BLOCK", 24)
        patch.setattr(copy_pairs, "_DIRECTIONS", 3)
        assert found(tasks) == expected


def test_an_image_is_judged_by_all_others_only_where_it_has_close_ones_that_are_not_clearly_copies(monkeypatch):
    pool = images(300)
    pool = np.concatenate([pool, saved_again(pool[:20]), np.repeat(pool[50:51], 12, axis=0)])
    judged = []
    of = NearCopies.of
    monkeypatch.setattr(NearCopies, "of", lambda copies, places: judged.extend(places.tolist()) or of(copies, places))
    tasks = featured(pool)
    assert found(tasks) == exhaustive(tasks)
    assert judged == [50, *range(320, 332)]


def test_of_an_image_that_is_there_a_thousand_times_no_pairs_are_kept(monkeypatch):
    pool = np.concatenate([images(2500), np.repeat(images(1, seed=5), 1000, axis=0)])
    monkeypatch.setattr(copies_module, "_BLOCK", 512)
    monkeypatch.setattr(copy_pairs, "_BLOCK", 512)
    tracemalloc.start()
    assert len(near_copy_pairs(featured(pool))) == 0
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16e6  # half a million pairs with their distances, in both orders, are 20 MB


def test_it_is_told_how_far_the_search_is():
    told = []
    near_copy_pairs(featured(images(1200)), lambda *numbers: told.append(numbers))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (1200, 1200)
