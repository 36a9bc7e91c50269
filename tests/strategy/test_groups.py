"""Patients: never split, never more than the cap in a queue, and never named."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from clinical_backend.learner.classifier.folds import deal_folds
from clinical_backend.learner.evaluation.held_out import HeldOut
from clinical_backend.learner.evaluation.network_gain import hold_out
from clinical_backend.strategy.groups import group_codes, group_key, within_cap

examples = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=1, max_size=60)


@given(examples, st.integers(2, 5), st.integers(0, 5))
def test_folds_never_split_a_group(rows, folds, seed):
    codes, groups = (np.array(column) for column in zip(*rows, strict=True))
    fold_of = deal_folds(codes, folds, seed, groups)
    assert set(fold_of) <= set(range(folds))
    for group in np.unique(groups):
        assert len(set(fold_of[groups == group])) == 1


def test_groups_of_a_rare_class_are_spread_over_the_folds():
    groups = np.repeat(np.arange(40), 3)
    codes = np.where(groups < 5, 1, 0)
    fold_of = deal_folds(codes, 5, 0, groups)
    assert sorted(fold_of[groups == group][0] for group in range(5)) == [0, 1, 2, 3, 4]


@given(st.integers(0, 20))
def test_held_out_labels_take_their_group_along(seed):
    groups = np.repeat(np.arange(30), 4)
    codes = np.arange(120) % 3
    held_out = hold_out(codes, seed, groups=groups)
    assert held_out.any()
    assert not set(groups[held_out]) & set(groups[~held_out])
    again = hold_out(codes, seed + 1, held_out=held_out, learnt=~held_out, groups=groups)
    assert np.array_equal(again, held_out)


def test_a_group_that_holds_most_of_a_class_is_learnt_from():
    codes = np.repeat([0, 1], [60, 20])
    groups = np.concatenate([np.arange(60), np.full(15, 99), np.arange(200, 205)])
    for seed in range(10):
        assert not hold_out(codes, seed, groups=groups)[groups == 99].any()


def test_nothing_judges_a_patient_whose_other_images_it_learnt_from():
    held_out = HeldOut(np.array([1, 2]), np.ones((2, 1), dtype=np.float32), None)
    groups = {1: "a", 3: "a", 4: "b"}
    assert held_out.may_evaluate(np.array([1, 2, 3, 4, 5]), groups).tolist() == [True, True, False, True, True]


@given(st.lists(st.integers(0, 6), min_size=1, max_size=40), st.integers(1, 3), st.data())
def test_a_walk_passes_over_full_groups_in_order(groups, cap, data):
    codes = np.array(groups)
    order = data.draw(st.permutations(range(len(groups))))
    kept = within_cap(order, codes, cap).tolist()
    assert kept == sorted(kept, key=order.index)
    counts = np.bincount(codes[kept], minlength=7)
    assert np.array_equal(counts, np.minimum(np.bincount(codes, minlength=7), cap))
    assert within_cap(order, codes, cap, most=2).tolist() == kept[:2]


def test_a_key_hides_its_patient_and_tells_patients_apart():
    key = group_key("Doe, Jane", "salt")
    assert key == group_key(" Doe, Jane ", "salt") != group_key("Doe, John", "salt")
    assert key != group_key("Doe, Jane", "pepper")
    assert len(key) == 32
    assert "Jane" not in key
    assert group_key(17, "salt") == group_key("17", "salt")
    assert [group_key(value, "salt") for value in (None, "", "  ", True, {"id": 1}, ["a"])] == [None] * 6
    assert group_key("x" * 5000, "salt") == group_key("x" * 1000, "salt")


def test_a_task_without_a_group_stands_for_itself():
    assert group_codes([5, 6, 7, 8], {5: "a", 7: "a"}).tolist() == [0, 1, 0, 2]
    assert group_codes([5, 8, 7, 8], {}).tolist() == [0, 2, 1, 2]
