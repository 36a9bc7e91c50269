"""Exemplars from outside, as they are kept."""

from contextlib import closing

import numpy as np
import pytest

from clinical_backend.errors import InvalidArgumentError
from clinical_backend.storage.database import Database
from clinical_backend.storage.stores.outside_exemplars import MOST_EXEMPLARS, NewExemplar, OutsideExemplarStore


@pytest.fixture
def store(workspace):
    workspace.stores.projects.register(2)
    return workspace.stores.outside_exemplars


def add(store, *names, project=1, finding="red", keeps_pixels=True):
    images = [NewExemplar(name, name, name.encode()) for name in names]
    return store.add(project, finding, images, by="ada", note="a textbook", keeps_pixels=keeps_pixels)


def test_each_is_kept_with_who_gave_it_and_when_and_the_newest_comes_first(store):
    first, second = add(store, "a", "b")
    found = store.all(1)
    assert [one.id for one in found] == [second, first]
    assert {(one.finding, one.added_by, one.note, one.has_pixels, one.backbone) for one in found} == {
        ("red", "ada", "a textbook", True, None)
    }
    assert found[0].added_at > 0
    assert (store.pixels(1, first), store.all(2)) == (b"a", [])


def test_the_same_image_is_kept_once_for_a_finding_and_again_for_another(store):
    assert len(add(store, "a")) == 1
    assert add(store, "a", "a") == []
    assert len(add(store, "a", finding="dark")) == 1
    assert len(add(store, "a", project=2)) == 1


def test_none_is_added_where_there_would_be_too_many(store):
    add(store, *map(str, range(MOST_EXEMPLARS)))
    with pytest.raises(InvalidArgumentError, match="more than 50"):
        add(store, "one more")
    assert len(store.all(1)) == MOST_EXEMPLARS
    assert add(store, "0") == []


def test_nothing_is_kept_for_a_project_that_is_not_served(store):
    assert add(store, "a", project=9) == []


def test_a_removed_one_is_gone_with_its_pixels_and_its_number_is_not_given_again(store):
    (number,) = add(store, "a")
    store.keep_feature(number, "network", np.ones(4, dtype=np.float32))
    assert not store.remove(2, number)
    assert store.remove(1, number)
    assert not store.remove(1, number)
    assert (store.all(1), store.pixels(1, number), store.features(1, "network", 4)) == ([], None, {})
    assert add(store, "b") > [number]


def test_a_feature_is_that_of_its_network_alone(store):
    (number,) = add(store, "a")
    store.keep_feature(number, "network", np.array([1, 2, 3], dtype=np.float32))
    (feature,) = store.features(1, "network", 3).values()
    assert feature.tolist() == [1, 2, 3]
    assert feature.dtype == np.float32
    assert store.features(1, "another", 3) == {}
    store.keep_feature(number, "another", np.zeros(2, dtype=np.float32))
    assert store.features(1, "network", 3) == {}


def test_pixels_that_are_not_to_be_kept_go_once_the_feature_is_made(store):
    (number,) = add(store, "a", keeps_pixels=False)
    assert store.all(1)[0].steers_with("network")
    store.keep_feature(number, "network", np.ones(4, dtype=np.float32))
    assert store.pixels(1, number) is None
    assert store.all(1)[0].steers_with("network")
    assert not store.all(1)[0].steers_with("another")


def test_they_go_with_their_project(workspace, store):
    add(store, "a")
    workspace.stores.projects.forget(1)
    assert store.all(1) == []


def test_a_damaged_feature_is_left_out(store):
    first, second = add(store, "a", "b")
    store.keep_feature(first, "network", np.array([1, np.nan], dtype=np.float32))
    store.keep_feature(second, "network", np.ones(3, dtype=np.float32))
    assert store.features(1, "network", 2) == {}


def test_a_database_that_holds_some_is_opened_again(workspace, store):
    (number,) = add(store, "a")
    store.keep_feature(number, "network", np.ones(4, dtype=np.float32))
    with closing(Database.in_folder(workspace.settings.model_dir)) as again:
        assert len(OutsideExemplarStore(again).all(1)) == 1
