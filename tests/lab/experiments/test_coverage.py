"""Whether the cases that were found span their class."""

import numpy as np
import pytest
from numpy.typing import NDArray

from clinical_backend.lab.experiments.coverage import ClassCoverage


@pytest.fixture
def two_kinds() -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Return features in which a class has two kinds of case, eight of each, and both kinds."""
    generator = np.random.default_rng(0)
    centres = np.repeat([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], 8, axis=0)
    rows = np.concatenate([centres, np.tile([0.0, 0.0, 1.0], (20, 1))])
    features = (rows + 0.1 * generator.normal(size=rows.shape)).astype(np.float32)
    return features, np.arange(8), np.arange(8, 16)


def test_cases_of_one_kind_do_not_cover_the_other(two_kinds: tuple[NDArray[np.float32], ...]):
    features, one, other = two_kinds
    coverage = ClassCoverage(features, [np.concatenate([one, other]).astype(np.int64)])

    assert coverage.of(one.tolist()) == 0.5
    assert coverage.of([*one[:4].tolist(), *other[:4].tolist()]) > 0.5


def test_nothing_known_covers_nothing_and_everything_known_all(two_kinds: tuple[NDArray[np.float32], ...]):
    features, one, other = two_kinds
    coverage = ClassCoverage(features, [np.concatenate([one, other]).astype(np.int64)])

    assert coverage.of([]) == 0.0
    assert coverage.of(range(16)) == 1.0


def test_a_case_covers_itself_and_those_that_it_is_nearest_to():
    angles = np.array([0.0, 1.0, 2.5, 40.0, 41.0, 42.5])
    features = np.column_stack([np.cos(np.radians(angles)), np.sin(np.radians(angles))]).astype(np.float32)
    coverage = ClassCoverage(features, [np.arange(6)])

    assert coverage.of([0]) == 0.5
    assert coverage.of([0, 1, 2]) == 0.5
    assert coverage.of([0, 4]) == 1.0


def test_the_length_of_a_feature_does_not_count(two_kinds: tuple[NDArray[np.float32], ...]):
    features, one, other = two_kinds
    members = np.concatenate([one, other]).astype(np.int64)
    lengths = np.linspace(1, 9, len(features))[:, None].astype(np.float32)

    assert ClassCoverage(features, [members]).of([0, 9]) == ClassCoverage(features * lengths, [members]).of([0, 9])


def test_classes_count_alike_and_other_images_not_at_all(two_kinds: tuple[NDArray[np.float32], ...]):
    features, one, other = two_kinds
    coverage = ClassCoverage(features, [one.astype(np.int64), other[:3].astype(np.int64)])

    assert coverage.of(other[:3].tolist()) == 0.5
    assert coverage.of([20, 21, 22]) == 0.0


def test_a_class_of_one_case_is_covered_by_it():
    coverage = ClassCoverage(np.eye(3, dtype=np.float32), [np.array([1])])

    assert coverage.of([1]) == 1.0
