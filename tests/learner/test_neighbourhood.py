"""Parts of a layout that can be named."""

import numpy as np
import pytest

from clinical_backend.learner.neighbourhood import NEIGHBOURHOODS, find_neighbourhoods, nearest


@pytest.fixture(scope="module")
def places():
    generator = np.random.default_rng(0)
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])[np.arange(40) % 4]
    return (corners + generator.normal(size=(40, 2)) * 0.02).astype(np.float32)


def test_points_that_lie_together_are_one_neighbourhood(places):
    middles = find_neighbourhoods(places)
    assert middles.shape == (4, 2)
    assert all(len(set(nearest(places, middles)[corner::4])) == 1 for corner in range(4))


def test_neighbourhoods_keep_their_numbers_while_points_come_and_move_a_little(places):
    middles = find_neighbourhoods(places)[::-1].copy()
    later = find_neighbourhoods(places[:-1] + np.float32(0.03), middles)
    np.testing.assert_array_equal(nearest(places, later), nearest(places, middles))


def test_of_very_many_points_there_are_no_more_than_can_be_read_through():
    points = np.random.default_rng(0).normal(size=(2000, 2)).astype(np.float32)
    middles = find_neighbourhoods(points)
    assert len(middles) == NEIGHBOURHOODS
    assert set(nearest(points, middles)) == set(range(NEIGHBOURHOODS))


@pytest.mark.parametrize("count", [0, 1, 5])
def test_few_points_are_one_neighbourhood(places, count):
    middles = find_neighbourhoods(places[:count])
    assert len(middles) == min(1, count)
    np.testing.assert_array_equal(nearest(places[:count], middles), np.zeros(count))


def test_points_in_one_place_are_one_neighbourhood():
    assert len(find_neighbourhoods(np.zeros((100, 2), dtype=np.float32))) == 1
