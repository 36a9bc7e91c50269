import numpy as np
import pytest

from clinical_backend.strategy.cluster_sample import sample_clusters
from clinical_backend.strategy.splits import ties_by_key

NONE = np.empty((0, 2), dtype=np.int64)


def test_whole_patients_are_drawn_until_the_size_is_reached_and_no_further():
    tasks = list(range(1, 61))
    ties = ties_by_key({task: f"p{task // 3}" for task in tasks})
    for seed in range(20):
        sample = sample_clusters(tasks, ties, [], size=10, seed=seed)
        patients = {task // 3 for task in sample.drawn}
        assert set(sample.drawn) == {task for task in tasks if task // 3 in patients}
        assert 10 <= len(sample.drawn) <= 12
        assert sample.drawn_clusters == len(patients)
        assert (sample.tasks, sample.clusters, sample.excluded) == (60, 21, 0)


def test_patients_that_are_barred_or_hang_together_with_barred_ones_are_not_drawn():
    tasks = list(range(1, 13))
    ties = np.concatenate([ties_by_key(dict.fromkeys((1, 2), "a")), np.array([[2, 3], [3, 99]])])
    sample = sample_clusters(tasks, ties, [99], size=9, seed=0)
    assert sorted(sample.drawn) == list(range(4, 13))
    assert (sample.tasks, sample.excluded) == (9, 3)


def test_the_seed_and_the_tasks_alone_decide_and_each_task_is_drawn_as_often():
    tasks = list(range(1, 41))
    assert sample_clusters(tasks, NONE, [], size=8, seed=5) == sample_clusters(tasks, NONE, [], size=8, seed=5)
    counts = np.zeros(41)
    for seed in range(2000):
        counts[list(sample_clusters(tasks, NONE, [], size=8, seed=seed).drawn)] += 1
    assert abs(counts[1:] / 2000 - 0.2).max() < 4.5 * np.sqrt(0.2 * 0.8 / 2000)


def test_the_order_of_reading_is_random_over_all_that_is_drawn():
    tasks = list(range(1, 101))
    places = [sample_clusters(tasks, NONE, [], size=100, seed=seed).drawn.index(1) for seed in range(400)]
    assert abs(np.mean(places) - 49.5) < 4.5 * np.std(range(100)) / 20


@pytest.mark.parametrize(("share", "drawn"), [(0.0, 0), (0.25, 10), (1.0, 40)])
def test_a_share_of_patients_is_drawn_where_no_size_is_asked_for(share, drawn):
    assert len(sample_clusters(list(range(40)), NONE, [], share=share, seed=0).drawn) == drawn


def test_of_no_tasks_none_is_drawn():
    assert sample_clusters([], NONE, [], size=5, seed=0).drawn == ()
