"""Several findings, one against the rest."""

from __future__ import annotations

import numpy as np
import pytest

from clinical_backend.learner.checkpoint import CheckpointMetadata, load_checkpoint, load_held_out, save_checkpoint
from clinical_backend.learner.classifier.linear import LinearClassifier
from clinical_backend.learner.classifier.one_vs_rest import (
    calibrated,
    fit_findings,
    join_findings,
    out_of_fold_margins,
)
from clinical_backend.learner.evaluation.finding_comparison import better_of_each
from clinical_backend.learner.evaluation.held_out import HeldOut

NAMES = ("a", "b", "never")


@pytest.fixture(scope="module")
def examples():
    generator = np.random.default_rng(3)
    says = np.zeros((300, 3), dtype=np.float32)
    says[:, 0] = generator.random(300) < 0.3
    says[:, 1] = generator.random(300) < 0.1
    features = generator.normal(size=(300, 12)).astype(np.float32)
    features[:, 0] += 2.0 * says[:, 0]
    features[:, 1] += 3.0 * says[:, 1]
    return features, says


def learnt(features, says):
    of_each = fit_findings(features, says, NAMES, seed=0)
    known = says[:, [NAMES.index(name) for name in of_each]]
    margins = out_of_fold_margins(features, known, folds=5, seed=0)
    return calibrated(join_findings(of_each), margins, known), known


def test_a_finding_that_no_label_gives_is_not_learnt(examples):
    assert tuple(fit_findings(*examples, NAMES, seed=0)) == ("a", "b")


def test_probabilities_hold_among_the_labels(examples):
    (classifier, probabilities), known = learnt(*examples)
    assert classifier.independent
    np.testing.assert_allclose(probabilities.mean(axis=0), known.mean(axis=0), atol=0.02)
    np.testing.assert_allclose(classifier.probabilities(examples[0]).mean(axis=0), known.mean(axis=0), atol=0.05)


def test_labels_that_say_nothing_change_nothing(examples):
    features, says = examples
    silent = np.full((50, 3), np.nan, dtype=np.float32)
    noise = np.random.default_rng(4).normal(size=(50, 12)).astype(np.float32)
    with_silent = fit_findings(np.concatenate([features, noise]), np.concatenate([says, silent]), NAMES, seed=0)
    for name, one in fit_findings(features, says, NAMES, seed=0).items():
        np.testing.assert_array_equal(with_silent[name].weights, one.weights)


def test_too_few_cases_to_hold_one_out_have_no_margin_and_the_share_of_the_labels(examples):
    features, says = examples
    says = says.copy()
    says[:, 1] = 0
    says[7, 1] = 1
    margins = out_of_fold_margins(features, says[:, :2], folds=5, seed=0)
    assert np.isnan(margins[:, 1]).all()
    classifier, _ = calibrated(join_findings(fit_findings(features, says, NAMES, seed=0)), margins, says[:, :2])
    assert np.median(classifier.probabilities(features)[:, 1]) < 0.1


def test_it_is_kept_and_read_back_with_what_judges_it(examples, tmp_path):
    (classifier, probabilities), _ = learnt(*examples)
    held_out = HeldOut(np.arange(300), probabilities, classifier)
    save_checkpoint(tmp_path / "one", classifier, CheckpointMetadata("key", 1), held_out)
    read, _ = load_checkpoint(tmp_path / "one")
    judged = load_held_out(tmp_path / "one")
    assert read.independent
    assert judged.reference.independent
    np.testing.assert_array_equal(read.probabilities(examples[0]), classifier.probabilities(examples[0]))
    rare = judged.rare_probability(np.arange(300), examples[0], ["a", "b"])
    np.testing.assert_allclose(rare, probabilities.max(axis=1))


def test_a_finding_that_a_training_does_worse_stays_as_it_was(examples):
    features, says = examples
    (good, of_good), known = learnt(features, says)
    shuffled = features.copy()
    shuffled[:, 1] = np.random.default_rng(5).normal(size=300)
    (bad, of_bad), _ = learnt(shuffled, says)
    tasks = np.arange(300)
    mixed, held_out, found = better_of_each(
        HeldOut(tasks, of_bad, bad), HeldOut(tasks, of_good, good), tasks, features, known, least=5, seed=0
    )
    assert {name: one.worse for name, one in found.items()} == {"a": False, "b": True}
    np.testing.assert_array_equal(mixed.weights[:, 1], good.weights[:, 1])
    np.testing.assert_array_equal(mixed.weights[:, 0], bad.weights[:, 0])
    np.testing.assert_array_equal(held_out.probabilities[:, 1], of_good[:, 1])


def test_a_finding_whose_cases_are_all_of_one_group_keeps_its_slope():
    classifier = LinearClassifier(
        ("a",), np.ones((1, 1), np.float32), np.zeros(1, np.float32), np.array([2]), independent=True
    )
    margins = np.array([[-np.inf], [-np.inf], *([[-1.0]] * 30)], dtype=np.float32)
    says = np.array([[1.0], [1.0], *([[0.0]] * 30)], dtype=np.float32)
    found, probabilities = calibrated(classifier, margins, says)
    assert found.weights[0, 0] == pytest.approx(1.0)
    assert not np.isnan(probabilities).any()
