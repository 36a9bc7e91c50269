"""What tells the target from the rest of the pool."""

import numpy as np
import pytest

from clinical_backend.learner.classifier.linear import LinearClassifier
from clinical_backend.learner.classifier.semi_supervised import PoolExamples
from clinical_backend.learner.classifier.whitening import half_whitening
from clinical_backend.strategy.detector import fit_detector
from clinical_backend.strategy.fit import Fit
from clinical_backend.strategy.target import Target
from clinical_backend.strategy.tasks import FeaturedTasks, Inputs

TARGET = Target(("rare",), (0, 1, 2, 3, 4), 5, (), "test")


@pytest.fixture
def features():
    """Return features of 300 images, of which the first 20 are rare."""
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(300, 16)) * np.repeat([4.0, 1.0], [3, 13])
    rows[:20, 5:9] += 1.5
    return rows.astype(np.float32)


def inputs_of(features, common):
    query, labelled, pool = np.arange(5), np.arange(5 + common) + 20, np.arange(60, 300)
    return Inputs.of(*(FeaturedTasks(tasks, features[tasks]) for tasks in (labelled, pool, query)))


def test_there_is_none_without_a_query_set_or_a_pool(features):
    inputs = inputs_of(features, 5)
    labels = dict.fromkeys(inputs.labelled.tasks.tolist(), "common")
    nothing = inputs.pool.none()
    assert fit_detector(Inputs.of(inputs.labelled, inputs.pool, nothing), labels, TARGET, seed=0) is None
    assert fit_detector(Inputs.of(inputs.labelled, nothing, inputs.query), labels, TARGET, seed=0) is None


def test_its_log_odds_are_the_learned_similarities_to_the_exemplars(features):
    """The identity of docs/smi.md: a candidate's log-odds are a sum over the exemplars."""
    rare, pool = features[:5], features[60:]
    examples = PoolExamples.of(rare, np.ones(5, np.intp), ("common", "rare"), pool, rare=[1])
    whitening = half_whitening(features)
    detector = examples.fit(whitening)
    logits = detector.logits(examples.rows)
    log_odds = logits[:, 1] - logits[:, 2]
    unit = examples.rows / np.linalg.norm(examples.rows, axis=1, keepdims=True)
    z = (unit - unit.mean(axis=0)) @ whitening
    is_exemplar = examples.indices == 1
    beta = examples.weights * np.abs(is_exemplar - 1 / (1 + np.exp(-log_odds)))
    kernel = z @ z.T
    to_exemplars = kernel[:, is_exemplar] * beta[is_exemplar]
    to_common = kernel[:, ~is_exemplar] @ beta[~is_exemplar]
    similarity = to_exemplars - to_common[:, None] / is_exemplar.sum()
    assert (beta >= 0).all()
    assert np.corrcoef(similarity.sum(axis=1), log_odds)[0, 1] > 0.999


def test_what_ranks_and_what_tells_classes_apart_know_the_same_classes(features):
    inputs = inputs_of(features, 20)
    labels = {int(task): "a" if task % 2 else "b" for task in inputs.labelled.tasks} | dict.fromkeys(range(5), "rare")
    detector = fit_detector(inputs, labels, TARGET, seed=0)
    assert detector is not None
    assert detector.classifier.classes == detector.of_classes.classes == ("a", "b", "rare")
    assert [detector.classifier.classes[column] for column in detector.rare_columns] == ["rare"]
    chances = detector.rare_probability(features)
    assert chances[5:20].mean() > chances[60:].mean() + 0.1


def test_the_chances_of_a_queue_take_no_second_pass_over_the_pool(features, monkeypatch):
    inputs = inputs_of(features, 20)
    labels = dict.fromkeys(inputs.labelled.tasks.tolist(), "common")
    detector = fit_detector(inputs, labels, TARGET, seed=0)
    fitted = Fit(None, (), (), sees_target=True, reason="", detector=detector)
    passes = []
    logits = LinearClassifier.logits
    monkeypatch.setattr(LinearClassifier, "logits", lambda self, rows: passes.append(len(rows)) or logits(self, rows))
    whole = fitted.rare_probability_in(inputs.pool)
    assert np.array_equal(whole, fitted.rare_probability_in(inputs.pool))
    assert passes == [240]
    assert np.allclose(fitted.rare_probability_in(inputs.pool, np.array([3, 1])), whole[[3, 1]])
    other = inputs.pool.those(np.arange(240) % 2 == 0)
    assert np.allclose(fitted.rare_probability_in(other), whole[::2])
