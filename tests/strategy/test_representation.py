"""Which features a round works with."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from clinical_backend.learner.adaptation.network import join_features
from clinical_backend.strategy.detector import fit_detector
from clinical_backend.strategy.representation import choose_representation
from clinical_backend.strategy.target import Target
from clinical_backend.strategy.tasks import FeaturedTasks, Inputs

PARTS = (8, 64)


def points(generator, count, *, frozen=0.0, adapted=0.0):
    """Return frozen and joined features that stand apart by so much in either part."""
    first = generator.normal(size=(count, PARTS[0])).astype(np.float32) + np.float32(frozen)
    second = generator.normal(size=(count, PARTS[1])).astype(np.float32) + np.float32(adapted)
    return first, join_features([first, second], [1.0, 2.0])


def inputs(rare, common, pool):
    """Return inputs of frozen and of joined features."""
    edges = np.cumsum([0, len(rare[0]), len(common[0]), len(pool[0])])
    tasks = [np.arange(*edge) for edge in pairwise(edges)]
    of_rare, of_common, of_pool = (
        [FeaturedTasks(ids, side, parts) for side, parts in zip(sides, ((), PARTS), strict=True)]
        for ids, sides in zip(tasks, (rare, common, pool), strict=True)
    )
    return [
        Inputs.of(labelled, unlabelled, query)
        for query, labelled, unlabelled in zip(of_rare, of_common, of_pool, strict=True)
    ]


def project(seed=0, rare=12, **apart):
    generator = np.random.default_rng(seed)
    return inputs(points(generator, rare, **apart), points(generator, 10), points(generator, 400))


def test_joined_features_are_taken_where_held_out_cases_rank_higher_beyond_chance():
    frozen, joined = project(adapted=1)
    chosen, reason = choose_representation(frozen, joined, seed=0)
    assert chosen is joined
    assert "ranks better" in reason


def test_frozen_features_are_taken_where_the_adapted_ones_are_noise():
    frozen, joined = project(rare=40, frozen=0.6)
    chosen, reason = choose_representation(frozen, joined, seed=0)
    assert chosen is frozen
    assert "ranks worse" in reason


def test_both_take_part_where_neither_is_better_beyond_chance():
    frozen, joined = project(frozen=9, adapted=9)  # all cases are ranked first
    chosen, reason = choose_representation(frozen, joined, seed=0)
    assert chosen == replace(joined, with_frozen=True)
    assert "neither is better" in reason


@pytest.mark.parametrize("rare", [0, 2])
def test_too_few_labels_to_judge_by_leave_both(rare):
    frozen, joined = project(rare=rare, adapted=1)
    chosen, reason = choose_representation(frozen, joined, seed=0)
    assert chosen == replace(joined, with_frozen=True)
    assert "too few" in reason


def test_patients_too_few_to_judge_by_leave_both():
    frozen, joined = (replace(one, groups=dict.fromkeys(range(500), "the same")) for one in project(adapted=1))
    chosen, reason = choose_representation(frozen, joined, seed=0)
    assert chosen.with_frozen
    assert "too few patients" in reason


def test_a_pool_of_the_patients_of_rare_cases_leaves_both():
    generator = np.random.default_rng(0)
    sides = inputs(points(generator, 6), points(generator, 4), points(generator, 2))
    patients = {task: f"p{task % 2}" for task in range(12)}
    chosen, reason = choose_representation(*(replace(one, groups=patients) for one in sides), seed=0)
    assert chosen.with_frozen
    assert "too few patients" in reason


def test_a_detector_of_both_has_the_mean_of_their_log_odds():
    frozen, joined = project(frozen=1.0, adapted=1.0)
    labels = {int(task): "common" for task in frozen.labelled.tasks} | {
        int(task): "rare" for task in frozen.query.tasks
    }
    target = Target(("rare",), tuple(frozen.query.tasks.tolist()), 12, (), "test")
    both = replace(joined, with_frozen=True)

    def log_odds(which, features):
        detector = fit_detector(which, labels, target, seed=0)
        chance = detector.rare_probability(features).astype(np.float64)
        return np.log(chance / (1 - chance))

    mean = (log_odds(frozen, frozen.pool.features) + log_odds(joined, joined.pool.features)) / 2
    assert np.allclose(log_odds(both, joined.pool.features), mean, atol=1e-3)


def test_black_images_of_which_no_feature_tells_anything_are_borne():
    frozen, joined = project(frozen=1.0, adapted=1.0)
    for one in (frozen, joined):
        one.pool.features[:200] = 0
    labels = dict.fromkeys(frozen.labelled.tasks.tolist(), "common")
    target = Target((), tuple(frozen.query.tasks.tolist()), 12, (), "test")
    detector = fit_detector(replace(joined, with_frozen=True), labels, target, seed=0)
    assert np.isfinite(detector.rare_probability(joined.pool.features)).all()
