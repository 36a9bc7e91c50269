"""Which image decides: found among others that nobody points at."""

import numpy as np
import pytest

from clinical_backend.multilabel import pack
from clinical_backend.strategy.bags import SaidOfImages, common_tasks, sampled_tasks
from clinical_backend.strategy.instances import Instances, beside_mean
from clinical_backend.strategy.tasks import FeaturedTasks, Inputs
from clinical_backend.strategy.witness import learn_witnesses

D = 24


@pytest.fixture(scope="module")
def kinds():
    """Return the middles of six common kinds of images and of a rare one."""
    return np.random.default_rng(0).normal(size=(7, D)).astype(np.float32)


def bags_of(kinds, count, images, *, rare, seed, first=0, every=False):
    """Return tasks of common images, of which one or every one is rare, and the place of the rare one."""
    generator = np.random.default_rng(seed)
    kind = generator.integers(6, size=(count, images))
    places = generator.integers(images, size=count)
    if rare:
        kind[np.arange(count), places] = 6
    if every:
        kind[:] = 6
    rows = kinds[kind] + 0.5 * generator.normal(size=(count, images, D))
    return (
        Instances(
            np.arange(first, first + count),
            rows.reshape(-1, D).astype(np.float32),
            np.arange(count) * images,
            np.tile(np.arange(images), count),
        ),
        places,
    )


def test_the_image_that_rare_tasks_have_in_common_is_found_among_sixteen(kinds):
    rare, places = bags_of(kinds, 6, 16, rare=True, seed=1)
    pool, _ = bags_of(kinds, 200, 16, rare=False, seed=2, first=100)
    found = learn_witnesses(rare, pool.among(np.arange(0)), pool, seed=0)
    assert [found.rows[task] for task in range(6)] == places.tolist()
    unseen, where = bags_of(kinds, 50, 16, rare=True, seed=3, first=1000)
    assert np.mean(unseen.positions[found.of(unseen)] == where) > 0.9
    common = found.scores(pool.rows)[found.of(pool)]
    assert np.quantile(common, 0.95) < np.median(found.scores(unseen.rows)[found.of(unseen)])


def test_common_tasks_rule_out_what_they_show_too(kinds):
    rare, places = bags_of(kinds, 4, 8, rare=True, seed=1)
    decoy = np.full(D, 3.0, dtype=np.float32)
    rare.rows[rare.starts + (places + 1) % 8] = decoy
    pool, _ = bags_of(kinds, 200, 8, rare=False, seed=2, first=100)
    common, _ = bags_of(kinds, 20, 8, rare=False, seed=4, first=500)
    common.rows[common.starts] = decoy
    assert [*learn_witnesses(rare, common, pool, seed=0).rows.values()] == places.tolist()


def test_one_rare_task_is_told_by_what_the_pool_lacks(kinds):
    rare, places = bags_of(kinds, 1, 16, rare=True, seed=1)
    pool, _ = bags_of(kinds, 200, 16, rare=False, seed=2, first=100)
    found = learn_witnesses(rare, pool.among(np.arange(0)), pool, seed=0)
    assert found.rows == {0: places[0]}


def test_tasks_of_one_image_stand_for_themselves(kinds):
    rare, _ = bags_of(kinds, 5, 1, rare=True, seed=1)
    pool, _ = bags_of(kinds, 50, 1, rare=False, seed=2, first=100)
    found = learn_witnesses(rare, pool.among(np.arange(0)), pool, seed=0)
    assert found.of(pool).tolist() == list(range(50))
    assert set(found.rows.values()) == {0}


def test_images_that_are_all_alike_are_no_fault(kinds):
    rare, _ = bags_of(kinds, 3, 4, rare=True, seed=1)
    rare.rows[:] = 1.0
    pool, _ = bags_of(kinds, 10, 4, rare=False, seed=2, first=100)
    pool.rows[:] = 1.0
    found = learn_witnesses(rare, pool.among(np.arange(0)), pool, seed=0)
    assert np.isfinite(found.scores(pool.rows)).all()


def test_labelled_common_tasks_and_a_sample_of_the_pool_are_learnt_from():
    labelled, pool = (
        FeaturedTasks(tasks, np.ones((len(tasks), 2), dtype=np.float32)) for tasks in (np.arange(9), np.arange(50, 60))
    )
    query = labelled.those(np.arange(9) < 4)
    assert common_tasks(Inputs.of(labelled, pool, query)) == [4, 5, 6, 7, 8]
    assert sorted(sampled_tasks(pool, 0)) == pool.tasks.tolist()
    assert sampled_tasks(pool, 0) != sampled_tasks(pool, 1)


def test_the_image_that_decides_outweighs_the_mean_beside_it_and_where_all_do_the_mean_agrees(kinds):
    pool, _ = bags_of(kinds, 40, 16, rare=False, seed=2, first=100)
    rare, places = bags_of(kinds, 40, 16, rare=True, seed=1)
    every, _ = bags_of(kinds, 40, 16, rare=True, seed=1, every=True)
    towards = kinds[6] - kinds[:6].mean(axis=0)
    of_common, of_one, of_all = (
        beside_mean(part, part.starts + at) @ towards for part, at in ((pool, 0), (rare, places), (every, 0))
    )
    assert of_common.mean() < of_one.mean() < of_all.mean()
    assert np.mean(of_one[:, None] > of_common) > 0.95
    wrong = beside_mean(every, every.starts) @ towards
    assert np.mean(wrong[:, None] > of_common) > 0.95


def test_tasks_of_which_all_images_are_lost_have_no_row():
    nothing = np.empty(0, dtype=np.int64)
    assert beside_mean(Instances(nothing, np.empty((0, 3), np.float32), nothing, nothing), nothing).shape == (0, 3)


def test_some_of_the_tasks_keep_their_images(kinds):
    pool, _ = bags_of(kinds, 10, 4, rare=False, seed=2)
    some = pool.among(np.array([7, 2]))
    assert some.tasks.tolist() == [7, 2]
    assert np.array_equal(some.rows[:4], pool.rows[28:32])
    assert some.starts.tolist() == [0, 4]
    again = Instances.joined([some, pool.among(np.array([1]))])
    assert np.array_equal(again.rows[8:], pool.rows[4:8])
    assert again.starts.tolist() == [0, 4, 8]


def test_images_that_readers_named_are_taken_and_those_that_they_ruled_out_are_not(kinds):
    rare, places = bags_of(kinds, 4, 8, rare=True, seed=1)
    pool, _ = bags_of(kinds, 200, 8, rare=False, seed=2, first=100)
    named = rare.starts + (places + 1) % 8
    shows, lacks = (np.zeros(len(rare.rows), dtype=bool) for _ in range(2))
    shows[named[:2]] = True
    lacks[rare.starts[2:] + places[2:]] = True
    found = learn_witnesses(rare, pool.among(np.arange(0)), pool, seed=0, shows=shows, lacks=lacks)
    assert [found.rows[task] for task in (0, 1)] == ((places[:2] + 1) % 8).tolist()
    assert all(found.rows[task] != places[task] for task in (2, 3))


def test_a_search_that_something_else_misleads_is_right_once_readers_name_the_images(kinds):
    rare, places = bags_of(kinds, 1, 16, rare=True, seed=1)
    rare.rows[rare.starts + (places + 1) % 16] = -kinds.mean(axis=0)  # more unlike the pool than what is rare
    pool, _ = bags_of(kinds, 200, 16, rare=False, seed=2, first=100)
    nothing = pool.among(np.arange(0))
    assert [*learn_witnesses(rare, nothing, pool, seed=0).rows.values()] != places.tolist()
    shows = np.zeros(len(rare.rows), dtype=bool)
    shows[rare.starts + places] = True
    told = learn_witnesses(rare, nothing, pool, seed=0, shows=shows)
    assert [*told.rows.values()] == places.tolist()
    unseen, where = bags_of(kinds, 50, 16, rare=True, seed=3, first=1000)
    assert np.mean(unseen.positions[told.of(unseen)] == where) > 0.9


def test_some_images_of_tasks_are_taken_with_their_places():
    every = Instances(
        np.array([7, 8, 9]), np.eye(6, dtype=np.float32), np.array([0, 2, 3]), np.array([0, 1, 4, 0, 1, 2])
    )
    some = every.only(np.array([False, True, False, True, False, True]))
    assert (some.tasks.tolist(), some.starts.tolist(), some.positions.tolist()) == ([7, 9], [0, 1], [1, 0, 2])
    assert some.rows.argmax(axis=1).tolist() == [1, 3, 5]


def test_what_is_said_of_images_is_told_apart_by_target():
    every = Instances(np.array([7, 8]), np.eye(4, dtype=np.float32), np.array([0, 2]), np.array([0, 1, 0, 5]))
    said = SaidOfImages({7: {0: "rare", 1: "common"}, 8: {0: "common"}}, {8: {0, 5}})
    shows, lacks = said.of(every, ("rare", "other"))
    assert (shows.tolist(), lacks.tolist()) == ([True, False, False, True], [False, True, True, False])
    nothing = SaidOfImages({8: {5: pack([], ["rare"])}}).of(every, ("rare",))
    assert not any(told.any() for told in nothing)
