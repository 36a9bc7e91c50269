import numpy as np
import pytest

from clinical_backend.acquisition import Embedding, select
from clinical_backend.strategy import diverse
from clinical_backend.strategy.diverse import diverse_order


def cells(count, dimension, seed=0):
    return np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)


@pytest.mark.parametrize("seen", [0, 7])
def test_in_few_dimensions_it_is_the_farthest_first_order(seen):
    pool, labelled = cells(60, 8), cells(seen, 8, seed=1)
    centre = pool.mean(axis=0)
    expected = select(
        "coreset", Embedding(pool - centre), None, 20, labelled=Embedding(labelled - centre) if seen else None
    )
    assert diverse_order(pool, labelled, 20).tolist() == expected.indices.tolist()


def test_the_frozen_part_and_the_whole_take_turns_and_each_sees_what_the_other_picked():
    """The first part tells tasks 0 and 1 apart from the rest; in the whole, 2 and 3 are farther."""
    pool = np.zeros((40, 6), dtype=np.float32)
    pool[0, 0], pool[1, 1] = 9.0, 8.0
    pool[2, 3], pool[3, 4] = 12.0, 11.0
    assert diverse_order(pool, pool[:0], 4, parts=(3, 3)).tolist() == [0, 2, 1, 3]
    assert diverse_order(pool, pool[:0], 4).tolist() == [2, 3, 0, 1]


def test_it_picks_every_task_once_and_no_more_than_there_are():
    pool = np.zeros((5, 4), dtype=np.float32)
    assert sorted(diverse_order(pool, pool[:0], 9, parts=(2, 2)).tolist()) == [0, 1, 2, 3, 4]
    assert diverse_order(pool[:0], pool[:0], 3).tolist() == []


def test_of_many_tasks_a_sample_tells_the_components_and_all_are_ordered(monkeypatch):
    scales = np.r_[np.linspace(9, 5, 16), np.full(14, 0.01)].astype(np.float32)
    pool = cells(300, 30) * scales
    expected = diverse_order(pool, pool[:0], 20).tolist()
    monkeypatch.setattr(diverse, "_TELLING", 100)
    monkeypatch.setattr(diverse, "_BLOCK", 7)
    assert diverse_order(pool, pool[:0], 20).tolist() == expected
