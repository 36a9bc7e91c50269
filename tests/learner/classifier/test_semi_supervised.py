"""A classifier that learns from the pool as well."""

import numpy as np
import pytest

from clinical_backend.errors import InvalidArgumentError
from clinical_backend.learner.classifier.linear import fit
from clinical_backend.learner.classifier.semi_supervised import OTHER, PoolExamples
from clinical_backend.learner.classifier.whitening import half_whitening
from clinical_backend.learner.evaluation.metrics import average_precision


@pytest.fixture
def cells():
    """Return features and classes of 600 points: 0 and 1 common, 2 rare and somewhat apart."""
    generator = np.random.default_rng(0)
    classes = generator.permutation(np.repeat([0, 1, 2], [300, 270, 30]))
    centres = 1.3 * generator.normal(size=(3, 24))
    return (centres[classes] + 2 * generator.normal(size=(600, 24))).astype(np.float32), classes


def learn(cells, labelled, **changes):
    features, classes = cells
    pool = np.setdiff1d(np.arange(600), labelled)
    given = {"rare": [2], "seed": 0} | changes
    examples = PoolExamples.of(features[labelled], classes[labelled], ("a", "b", "rare"), features[pool], **given)
    return examples.fit(), pool


def precision(cells, classifier, pool):
    features, classes = cells
    return average_precision(classes[pool] == 2, classifier.probabilities(features[pool])[:, 2])


def rare_cases(cells, count):
    return np.flatnonzero(cells[1] == 2)[:count]


def test_exemplars_alone_find_their_like_in_the_pool(cells):
    classifier, pool = learn(cells, rare_cases(cells, 5))
    assert classifier.classes == ("a", "b", "rare", OTHER)
    assert precision(cells, classifier, pool) > 0.3  # chance: .04
    assert classifier.probabilities(cells[0])[:, :2].max() == 0.0


def test_the_pool_improves_on_few_labels(cells):
    features, classes = cells
    labelled = np.concatenate([rare_cases(cells, 5), np.flatnonzero(classes < 2)[:5]])
    classifier, pool = learn(cells, labelled)
    assert classifier.classes == ("a", "b", "rare")
    supervised = fit(features[labelled], classes[labelled], ("a", "b", "rare"))
    assert precision(cells, classifier, pool) > precision(cells, supervised, pool) + 0.05


def test_the_pool_gives_way_to_labels(cells):
    features, classes = cells
    few, many = np.arange(60), np.arange(500)
    apart = []
    for labelled in (few, many):
        with_pool, _ = learn(cells, labelled)
        other = PoolExamples.of(
            features[labelled], classes[labelled], ("a", "b", "rare"), np.zeros((50, 24), np.float32), rare=[2]
        ).fit()
        apart.append(np.abs(with_pool.probabilities(features) - other.probabilities(features)).mean())
    assert apart[1] < apart[0]


def test_a_pool_that_is_not_trusted_weighs_little_beside_labels_of_common_classes(cells):
    features, classes = cells
    labelled = np.concatenate([rare_cases(cells, 5), np.flatnonzero(classes < 2)[:20]])
    kept = (classes[labelled], features[labelled])
    alone = fit(kept[1], kept[0], ("a", "b", "rare")).probabilities(features)
    apart = [
        np.abs(learn(cells, labelled, trust=trust)[0].probabilities(features) - alone).mean()
        for trust in (1.0, 0.3, 0.01)
    ]
    assert apart[0] > apart[1] > apart[2]


def test_it_is_the_same_again(cells):
    first, second = (learn(cells, rare_cases(cells, 3))[0] for _ in range(2))
    assert np.array_equal(first.weights, second.weights)


@pytest.mark.parametrize("pool", [1, 2, 5000])
def test_a_pool_of_any_size_will_do(cells, pool):
    features, classes = cells
    rare = rare_cases(cells, 2)
    sample = np.random.default_rng(0).normal(size=(pool, 24)).astype(np.float32)
    examples = PoolExamples.of(features[rare], classes[rare], ("a", "b", "rare"), sample, rare=[2])
    every, of_rare = examples.fit(), examples.fit(half_whitening(np.concatenate([features[rare], sample])))
    for classifier in (every, of_rare, examples.joined(every, of_rare)):
        assert np.isfinite(classifier.probabilities(features)).all()


def test_what_it_cannot_learn_from_is_refused(cells):
    features, classes = cells
    with pytest.raises(InvalidArgumentError, match="none is of a rare class"):
        learn(cells, np.flatnonzero(classes == 0)[:5])
    with pytest.raises(InvalidArgumentError, match="pool"):
        PoolExamples.of(features[:2], [2, 2], ("a", "b", "rare"), features[:0], rare=[2])


def test_a_classifier_that_chooses_among_some_classes_shares_out_their_probability(cells):
    features, classes = cells
    every = fit(features[:90], classes[:90], ("a", "b", "rare"))
    some = every.among(("rare", "a"))
    whole = every.probabilities(features)[:, [2, 0]]
    assert np.allclose(some.probabilities(features), whole / whole.sum(axis=1, keepdims=True), atol=1e-5)
    assert some.counts.tolist() == every.counts[[2, 0]].tolist()
    with pytest.raises(InvalidArgumentError, match="does not know 'c'"):
        every.among(("a", "c"))
