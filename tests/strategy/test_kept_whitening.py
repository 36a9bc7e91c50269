"""The whitening of a project's features."""

import numpy as np
import pytest

from clinical_backend.learner.classifier import whitening as pure
from clinical_backend.strategy import kept_whitening as module
from clinical_backend.strategy.kept_whitening import whitening_of
from clinical_backend.strategy.tasks import FeaturedTasks


@pytest.fixture
def features():
    return np.random.default_rng(0).normal(size=(5000, 6)).astype(np.float32)


def some(features, tasks):
    return FeaturedTasks(np.asarray(tasks), features[tasks])


def test_it_is_the_same_whoever_is_labelled_by_now(features, monkeypatch):
    calls = []
    monkeypatch.setattr(module, "half_whitening", lambda rows: calls.append(len(rows)) or pure.half_whitening(rows))
    module._known.clear()
    every = np.random.default_rng(1).permutation(5000)
    first, *others = (
        whitening_of([some(features, every[labelled:]), some(features, every[:labelled]), some(features, every[:2])])
        for labelled in (2, 200, 4990)
    )
    assert all(other is first for other in others)
    assert calls == [3000]


def test_other_features_have_another(features):
    tasks = np.arange(50)
    first, second = (whitening_of([some(shifted, tasks)]) for shifted in (features, features * [1, 2, 3, 4, 5, 6]))
    assert not np.allclose(first, second)


def test_few_are_kept(features):
    for start in range(20):
        whitening_of([some(features, np.arange(start, start + 50))])
    assert len(module._known) == module._KEPT
