"""Features in two dimensions: who is near stays near, and who has a place keeps it."""

import numpy as np
import pytest
from sklearn.manifold import trustworthiness

from clinical_backend.errors import InvalidArgumentError
from clinical_backend.learner.projection import lay_out

GROUPS = 6


@pytest.fixture(scope="module")
def groups():
    return np.arange(600) % GROUPS


@pytest.fixture(scope="module")
def features(groups):
    """Six groups in 64 dimensions, around a mean that all share, as post-ReLU features have one."""
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(GROUPS, 64)) * 2
    return (centres[groups] + generator.normal(size=(len(groups), 64)) + 5).astype(np.float32)


@pytest.fixture(scope="module")
def laid_out(features):
    return lay_out(features[:300])


def purity(places, groups):
    """Return the share of points whose nearest point is of the same group."""
    distances = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    return (groups[distances.argmin(axis=1)] == groups).mean()


def middles(places, groups):
    return np.array([places[groups == group].mean(axis=0) for group in range(GROUPS)])


def test_neighbours_stay_neighbours_among_landmarks_and_others(features, groups, laid_out):
    places = laid_out.place(features)
    # Measured: 0.95 of the landmarks, 0.93 with the others. Random places have 0.5.
    assert trustworthiness(features[:300], places[:300], n_neighbors=10) > 0.9
    assert trustworthiness(features, places, n_neighbors=10) > 0.85
    assert purity(places, groups) == 1.0
    assert np.abs(laid_out.places).max() == pytest.approx(1.0)


def test_a_landmark_and_its_copies_stand_where_it_was_laid_out(features, laid_out):
    np.testing.assert_allclose(laid_out.place(features[:300]), laid_out.places, atol=1e-6)
    twice = lay_out(np.concatenate([features[:50], features[:50]]))
    assert len(twice.places) == 50
    np.testing.assert_allclose(twice.place(features[:50]), twice.places, atol=1e-6)


def test_a_place_does_not_depend_on_what_else_is_placed(features, laid_out):
    together = laid_out.place(features)
    np.testing.assert_allclose(laid_out.place(features[450:451]), together[450:451], atol=1e-4)
    np.testing.assert_array_equal(laid_out.place(features), together)


def test_the_seed_alone_decides(features):
    first, again, other = lay_out(features[:80], seed=3), lay_out(features[:80], seed=3), lay_out(features[:80], seed=4)
    np.testing.assert_array_equal(first.places, again.places)
    assert first.places.shape == other.places.shape


def test_a_layout_of_other_features_starts_from_the_old_places_and_is_turned_onto_them(features, groups, laid_out):
    """As an adaptation does: the features turn and change, the images stay."""
    generator = np.random.default_rng(1)
    turned = features @ np.linalg.qr(generator.normal(size=(64, 64)))[0].astype(np.float32)
    old = laid_out.place(features)
    known = old.copy()
    known[::7] = np.nan  # new images, which had no place
    new = lay_out(turned, known)
    before, after = middles(old, groups), middles(new.place(turned), groups)
    apart = np.linalg.norm(before[:, None] - before[None], axis=2)[np.triu_indices(GROUPS, 1)].min()
    assert np.linalg.norm(after - before, axis=1).max() < apart / 2  # nobody takes a group for another
    alone = middles(lay_out(turned, seed=5).place(turned), groups)
    assert np.linalg.norm(alone - before, axis=1).max() > apart / 2  # by itself it would not come so
    assert trustworthiness(turned, new.place(turned), n_neighbors=10) > 0.85


@pytest.mark.parametrize("count", range(7))
def test_however_few_there_are_each_has_a_place(features, count):
    projection = lay_out(features[:count])
    placed = projection.place(features[:10])
    assert projection.places.shape == (count, 2)
    assert np.isfinite(placed).all()
    assert np.abs(placed).max() <= 1.0 + 1e-6
    if count >= 2:
        assert len(np.unique(placed[:count], axis=0)) == count


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_features_that_are_all_the_same_stand_in_one_place(value):
    same = np.full((20, 8), value, dtype=np.float32)
    placed = lay_out(same).place(same)
    np.testing.assert_array_equal(placed, np.zeros((20, 2)))
    known = np.full((20, 2), 0.5, dtype=np.float32)
    np.testing.assert_allclose(lay_out(same, known).place(same), known)


def test_features_along_one_line_have_finite_places():
    line = np.linspace(0, 1, 40, dtype=np.float32)[:, None]
    placed = lay_out(line).place(line)
    assert placed.shape == (40, 2)
    assert np.isfinite(placed).all()


def test_known_places_that_are_all_missing_are_none(features):
    nowhere = np.full((80, 2), np.nan, dtype=np.float32)
    np.testing.assert_array_equal(lay_out(features[:80], nowhere).places, lay_out(features[:80]).places)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(features, laid_out, wrong):
    broken = features[:20].copy()
    broken[3, 5] = wrong
    with pytest.raises(InvalidArgumentError, match="not finite"):
        lay_out(broken)
    with pytest.raises(InvalidArgumentError, match="not finite"):
        laid_out.place(broken)
