"""How far exemplars from outside lie off a project's own images."""

import numpy as np
import pytest

from clinical_backend.strategy.outside import OutsideExemplars, standing_id
from clinical_backend.strategy.shift import shifts_of


@pytest.fixture
def pool():
    """Return features of 600 images, of which the first 20 are of a rare kind, twice as varied as the others."""
    rows = np.random.default_rng(0).normal(size=(600, 32))
    rows[:20] = 2.0 * rows[:20] + 4.0
    return rows.astype(np.float32)


def of(rows, *findings):
    ids = np.array([standing_id(number) for number in range(1, len(rows) + 1)], dtype=np.int64)
    return OutsideExemplars(ids, np.asarray(rows, dtype=np.float32), findings or ("rare",) * len(rows))


def test_images_as_the_pool_has_them_show_no_shift(pool):
    alike = np.random.default_rng(1).normal(size=(20, 32))
    assert shifts_of(pool, of(alike))["rare"] < 0.1


def test_being_rare_is_no_shift(pool):
    rare = 2.0 * np.random.default_rng(1).normal(size=(20, 32)) + 4.0
    assert shifts_of(pool, of(rare))["rare"] < 0.3


def test_a_shift_is_told_by_its_variance_beside_that_within_a_class(pool):
    alike = np.random.default_rng(1).normal(size=(200, 32))
    found = [shifts_of(pool, of(alike + np.sqrt(variance)))["rare"] for variance in (0.0, 0.25, 0.5, 1.0, 4.0)]
    assert found == sorted(found)
    assert found[1] > found[0] + 0.1
    assert found[3:] == [1.0, 1.0]


def test_each_finding_has_its_own(pool):
    rows = np.concatenate([np.random.default_rng(1).normal(size=(9, 32)), pool[100:109] - 5.0])
    shifts = shifts_of(pool, of(rows, *["near"] * 9, *["off"] * 9))
    assert shifts["off"] == 1.0
    assert shifts["near"] < 0.3


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_the_scale_of_features_says_nothing(pool, scale):
    rows = pool[100:110] + 0.5
    assert shifts_of(pool * scale, of(rows * scale))["rare"] == pytest.approx(
        shifts_of(pool, of(rows))["rare"], abs=1e-3
    )


def test_a_pool_of_a_few_images_tells_nothing(pool):
    assert shifts_of(pool[:5], of(pool[:2])) == {"rare": 1.0}


def test_a_pool_of_copies_shows_what_is_none_of_them():
    copies = np.ones((50, 8), dtype=np.float32)
    assert shifts_of(copies, of(copies[:1])) == {"rare": 0.0}
    assert shifts_of(copies, of(copies[:1] + 1.0)) == {"rare": 1.0}
