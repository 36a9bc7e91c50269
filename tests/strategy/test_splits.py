"""Splits: what is tied stays together, classes are shared out evenly, and the same gives the same."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical_backend.errors import InvalidArgumentError
from clinical_backend.strategy.splits import assign_splits, leaks, ties_by_key

NO_TIES = np.empty((0, 2), dtype=np.int64)


def pairs(*some):
    return np.array(some, dtype=np.int64).reshape(-1, 2)


def split(labels, ties=NO_TIES, *, validation=0.2, test=0.2, seed=0):
    return assign_splits(labels, ties, validation=validation, test=test, seed=seed)


@given(
    labels=st.dictionaries(st.integers(1, 60), st.lists(st.sampled_from("abc"), max_size=2), min_size=1),
    ties=st.lists(st.tuples(st.integers(1, 70), st.integers(1, 70)), max_size=40),
    seed=st.integers(0, 5),
)
def test_each_task_has_one_split_and_no_tie_is_parted(labels, ties, seed):
    found = split(labels, pairs(*ties), seed=seed)
    assert found.keys() == labels.keys()
    assert leaks(found, pairs(*ties)) == []
    shuffled = dict(reversed(labels.items()))
    assert split(shuffled, pairs(*reversed(ties)), seed=seed) == found


def test_tasks_that_are_tied_through_others_stay_together():
    chain = pairs(*[(task, task + 1) for task in range(1, 30)])
    found = split({task: ["a"] for task in range(1, 101)}, chain)
    assert len({found[task] for task in range(1, 31)}) == 1


def test_every_class_is_shared_out_in_the_same_way():
    labels = {task: ["rare"] if task % 20 == 0 else ["common"] for task in range(1, 1001)}
    found = split(labels, validation=0.1, test=0.3)
    counts = Counter((labels[task][0], name) for task, name in found.items())
    assert [counts["rare", name] for name in ("train", "validation", "test")] == [30, 5, 15]
    assert [counts["common", name] for name in ("train", "validation", "test")] == [570, 95, 285]


def test_a_case_of_several_findings_is_dealt_out_by_its_rarest():
    labels = {task: ["common"] for task in range(1, 101)} | {task: ["common", "rare"] for task in range(101, 111)}
    found = split(labels)
    assert Counter(found[task] for task in range(101, 111)) == {"train": 6, "validation": 2, "test": 2}


def test_another_seed_shares_out_otherwise():
    labels = {task: ["a"] for task in range(100)}
    assert split(labels, seed=1) != split(labels, seed=2)


def test_splits_stay_the_same_from_release_to_release():
    found = split({task: ["a"] for task in range(1, 11)})
    assert [task for task, name in found.items() if name == "test"] == [7, 9]


@pytest.mark.parametrize(("validation", "test"), [(0.5, 0.5), (-0.1, 0.2), (0.2, 0.9)])
def test_shares_that_leave_nothing_to_train_on_are_refused(validation, test):
    with pytest.raises(InvalidArgumentError, match="nothing is left"):
        split({1: ["a"]}, validation=validation, test=test)


def test_planted_leaks_are_found():
    splits = {1: "train", 2: "test", 3: "train"}
    assert leaks(splits, pairs((1, 2), (1, 3), (2, 9))) == [(1, 2)]


def test_tasks_of_one_patient_are_tied():
    assert ties_by_key({1: "x", 2: "y", 3: "x", 4: "x"}).tolist() == [[1, 3], [1, 4]]
    assert ties_by_key({}).shape == (0, 2)
