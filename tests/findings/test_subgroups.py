"""Subgroups by what a field says, none of which points to a patient."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from clinical_backend.findings.subgroups import LEAST_PATIENTS, group_by

VALUES = st.none() | st.sampled_from(["a", "b", "c", "others", "", "7"]) | st.integers(0, 99) | st.floats()


def sizes(values, patients=None):
    found = group_by(values, np.arange(len(values)) if patients is None else np.array(patients))
    return {name: int(members.sum()) for name, members in found.members.items()}, found


def test_a_value_is_a_subgroup_and_so_is_none():
    counts, found = sizes(["f"] * 6 + ["m"] * 8 + [None] * 3 + [""] * 3)
    assert counts == {"f": 6, "m": 8, "not stated": 6}
    assert found.withheld == 0


def test_ages_are_banded_by_tens_and_other_numbers_by_quartiles():
    ages = [age for age in range(20, 50) for _ in range(2)]
    assert sizes(ages)[0] == {"below 30": 20, "30 to 40": 20, "40 and above": 20}
    assert sizes([f"{age}.0" for age in ages])[0] == sizes(ages)[0], "text that is a number"
    counts, found = sizes([1000 + n for n in range(40)])
    assert list(counts.values()) == [10, 10, 10, 10]
    assert "quartiles" in found.how


def test_bands_are_ten_at_most_and_in_order():
    counts, _ = sizes([age for age in range(130) for _ in range(5)])
    assert len(counts) == 10
    assert next(iter(counts)).startswith("below")
    assert list(counts)[-1].endswith("and above")


def test_a_number_that_is_no_measure_of_anything_is_a_value_by_itself():
    huge = 10**400
    found = group_by([huge] * 6 + [float(one) for one in range(12)], np.arange(18))
    assert found.how == "By value."
    assert found.members[str(huge)].sum() == 6


def test_of_many_values_the_most_frequent_nine_are_told_apart():
    values = [f"site {number}" for number in range(14) for _ in range(6 + number)]
    counts, found = sizes(values)
    assert len(counts) == 10
    assert counts["others"] == sum(6 + number for number in range(5))
    assert found.withheld == 0


def test_images_of_few_patients_are_no_subgroup_however_many_they_are():
    values = ["rare"] * 40 + ["common"] * 40 + ["usual"] * 10
    patients = [n % 4 for n in range(40)] + list(range(10, 60))
    counts, found = sizes(values, patients)
    assert counts == {"common": 40, "usual": 10}
    assert found.withheld == 1
    assert "rare" not in str(found.how)


@given(st.lists(st.tuples(VALUES, st.integers(0, 40)), min_size=1, max_size=120))
def test_no_subgroup_has_fewer_than_five_patients_and_no_case_is_in_two(cases):
    values, patients = [value for value, _ in cases], np.array([patient for _, patient in cases])
    found = group_by(values, patients)
    listed = np.zeros(len(values), dtype=bool)
    for members in found.members.values():
        assert not (members & listed).any()
        assert len(np.unique(patients[members])) >= LEAST_PATIENTS
        listed |= members
    assert len(np.unique(patients[~listed])) < LEAST_PATIENTS * (found.withheld or 1)
    assert len(found.members) <= 10
