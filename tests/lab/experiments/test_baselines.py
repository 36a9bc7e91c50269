"""What defines each baseline of the papers, on lines of a few images."""

import numpy as np
import pytest
from numpy.typing import NDArray

from clinical_backend.lab.experiments.baselines import Known, direct, galaxy, positive_first


def two_classes(first: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.column_stack([first, 1 - first])


def line(size: int, changes_at: int) -> tuple[Known, list[int], NDArray[np.int64]]:
    """Return images that lie on a line in their order: the first of class 0, from a place on of class 1.

    One label is known at each end.
    """
    confidence = np.linspace(0.9, 0.1, size)
    truth = (np.arange(size) >= changes_at).astype(np.int64)
    known = Known(two_classes(confidence), two_classes(np.array([0.99, 0.01])), np.array([0, 1]))
    asked: list[int] = []
    return known, asked, truth


def test_positive_first_takes_what_is_predicted_rare_from_the_boundary_on():
    rare = np.array([0.95, 0.48, 0.51, 0.10, 0.70, 0.49])

    assert positive_first(rare, 3).tolist() == [2, 4, 0]


def test_positive_first_goes_on_with_the_most_likely_where_too_little_is_predicted_rare():
    rare = np.array([0.95, 0.48, 0.51, 0.10, 0.49])

    assert positive_first(rare, 4).tolist() == [2, 0, 4, 1]


def test_positive_first_gives_no_more_than_there_is():
    assert positive_first(np.array([0.2, 0.8]), 9).tolist() == [1, 0]


def test_galaxy_finds_where_the_class_changes_by_bisection():
    known, asked, truth = line(63, changes_at=40)

    def reader(place: int) -> int:
        asked.append(place)
        return int(truth[place])

    picks = galaxy(known, reader, 6, seed=0)

    assert picks.tolist() == asked == [31, 47, 39, 43, 41, 40]  # 2^6 − 1 images: six answers tell the change


def test_galaxy_then_labels_around_the_change():
    known, _, truth = line(63, changes_at=40)

    picks = galaxy(known, lambda place: int(truth[place]), 12, seed=0)

    assert set(picks[6:].tolist()) == {38, 37, 36, 35, 42, 44}


def test_galaxy_cuts_the_shortest_of_several_paths_first():
    pool = two_classes(np.linspace(0.9, 0.1, 12))
    labelled = two_classes(np.array([0.95, 0.5, 0.3, 0.05]))  # 6 images, then 2, then 4 between them
    known = Known(pool, labelled, np.array([0, 1, 0, 1]))

    first = galaxy(known, lambda _: 0, 1, seed=0)

    between = np.flatnonzero((pool[:, 0] < 0.5) & (pool[:, 0] > 0.3))
    assert len(between) < len(pool) / 3
    assert first[0] in between


def test_galaxy_draws_at_random_while_all_labels_are_alike():
    known = Known(two_classes(np.linspace(0.9, 0.1, 30)), two_classes(np.array([0.99])), np.array([0]))

    drawn = {int(galaxy(known, lambda _: 0, 1, seed=seed)[0]) for seed in range(8)}

    assert len(drawn) > 3


def test_direct_labels_around_the_threshold_that_separates_the_labels_best():
    size, threshold = 100, 70
    truth = (np.arange(size) >= threshold).astype(np.int64)
    known = Known(
        two_classes(np.linspace(0.9, 0.1, size)),
        two_classes(np.concatenate([np.linspace(0.99, 0.35, 40), np.linspace(0.34, 0.01, 40)])),
        np.repeat([0, 1], 40),
    )

    picks = direct(known, lambda place: int(truth[place]), 20, seed=0)

    assert np.abs(picks - threshold + 0.5).max() < 20
    assert abs(np.sum(picks < threshold) - 10) <= 2


def test_direct_separates_in_spite_of_a_wrong_label():
    """A label of the other class near the confident end moves the region of doubt, and not the threshold."""
    size, threshold = 100, 70
    truth = (np.arange(size) >= threshold).astype(np.int64)
    confidences = np.concatenate([np.linspace(0.99, 0.35, 40), np.linspace(0.34, 0.01, 40)])
    classes = np.repeat([0, 1], 40)
    classes[3] = 1
    known = Known(two_classes(np.linspace(0.9, 0.1, size)), two_classes(confidences), classes)

    picks = direct(known, lambda place: int(truth[place]), 20, seed=0)

    assert np.sum(np.abs(picks - threshold + 0.5) < 10) >= 10  # the half that is spent around the threshold


def test_direct_spends_half_of_the_budget_on_narrowing_the_threshold_down():
    known, _, truth = line(1000, changes_at=640)

    picks = direct(known, lambda place: int(truth[place]), 40, seed=0)
    narrowing, around = picks[:20], picks[20:]

    assert np.ptp(narrowing) > 200
    assert np.abs(around - 640).max() < 60
    assert np.any(around < 640)
    assert np.any(around >= 640)


def test_direct_narrows_every_class_down_by_as_many_labels():
    generator = np.random.default_rng(0)
    pool = generator.dirichlet(np.ones(4), 200)
    known = Known(pool, np.eye(4), np.arange(4))
    seen: list[int] = []

    direct(known, lambda place: seen.append(place) or int(pool[place].argmax()), 24, seed=0)

    assert len(seen) == 24
    assert set(pool[seen].argmax(axis=1)) == {0, 1, 2, 3}


@pytest.mark.parametrize("strategy", [galaxy, direct])
@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("budget", [1, 20, 300])
def test_each_image_is_asked_for_once_until_none_is_left(strategy: type, classes: int, budget: int):
    generator = np.random.default_rng(1)
    known = Known(
        generator.dirichlet(np.ones(classes), 60),
        generator.dirichlet(np.ones(classes), 8),
        generator.integers(-1, classes, 8),
    )
    answers = generator.integers(-1, classes, 60)
    asked: list[int] = []

    picks = strategy(known, lambda place: asked.append(place) or int(answers[place]), budget, seed=3)

    assert picks.tolist() == asked
    assert len(set(asked)) == len(asked) == min(budget, 60)


@pytest.mark.parametrize("strategy", [galaxy, direct])
def test_the_answers_within_a_batch_decide_what_is_asked_next(strategy: type):
    known, _, _ = line(63, changes_at=40)

    one, other = (strategy(known, lambda _, answer=answer: answer, 10, seed=0).tolist() for answer in (0, 1))

    assert one[0] == other[0]
    assert one != other
