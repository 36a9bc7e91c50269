"""How often others say what a reader says."""

import pytest

from clinical_backend.findings.reader_agreement import Same, agreement_by_reader
from clinical_backend.multilabel import pack


def agreement(cases):
    return agreement_by_reader((case, 1) for case in cases)


def counts(one):
    return one.same, one.cases


def test_each_reader_is_counted_with_the_others_and_by_the_class_that_each_gave():
    found = agreement([[("1", "a"), ("2", "a")], [("1", "a"), ("2", "b")], [("1", "b"), ("3", "b")]])
    assert {reader: counts(one.whole) for reader, one in found.items()} == {"1": (2, 3), "2": (1, 2), "3": (1, 1)}
    assert {name: counts(one) for name, one in found["1"].by_class.items()} == {"a": (1, 2), "b": (1, 1)}
    assert {name: counts(one) for name, one in found["2"].by_class.items()} == {"a": (1, 1), "b": (0, 1)}


def test_of_three_readers_the_odd_one_out_alone_is_counted_as_different():
    found = agreement([[("1", "a"), ("2", "a"), ("3", "b")]])
    assert {reader: one.whole.same for reader, one in found.items()} == {"1": 1, "2": 1, "3": 0}


@pytest.mark.parametrize("case", [[], [("1", "a")], [("1", "a"), ("1", "b")]])
def test_what_one_reader_alone_answered_tells_nothing(case):
    assert agreement([case]) == {}


def test_findings_are_counted_one_by_one_and_what_is_left_open_is_no_difference():
    mine, other = pack(["mass", "nodule"]), pack(["mass"], unknown=["nodule"])
    found = agreement([[("1", mine), ("2", other)], [("1", mine), ("2", pack(["mass"]))]])
    assert counts(found["1"].whole) == (1, 2)
    assert {name: counts(one) for name, one in found["1"].by_class.items()} == {"mass": (2, 2), "nodule": (0, 1)}


def test_below_ten_cases_nothing_is_stated_and_below_twenty_the_interval_alone():
    assert Same(9, 9).interval is None
    few, more = Same(8, 10).interval, Same(16, 20).interval
    assert (few.estimate, more.estimate) == (None, 0.8)
    assert few.low < more.low < 0.8 < more.high < few.high


def test_cases_of_one_pattern_are_counted_together():
    (one, _) = agreement_by_reader([([("1", "a"), ("2", "a")], 3), ([("1", "a"), ("2", "b")], 2)]).values()
    assert (counts(one.whole), counts(one.by_class["a"])) == ((3, 5), (3, 5))
