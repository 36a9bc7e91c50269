"""Labels of several findings as texts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clinical_backend.multilabel import (
    as_words,
    completed,
    disputed,
    findings_of,
    has_any,
    is_multilabel,
    majority,
    pack,
    says,
    unknown_of,
)

NAMES = st.sets(st.text(max_size=8), max_size=5)


@given(NAMES, NAMES)
def test_a_label_says_what_was_packed_and_the_same_findings_give_the_same_text(present, unknown):
    label = pack(present, unknown)
    assert (findings_of(label), unknown_of(label)) == (present, unknown - present)
    assert label == pack(sorted(present, reverse=True), [*unknown, *present])
    assert is_multilabel(label)


@given(st.text(max_size=8))
def test_a_class_is_the_only_finding_of_its_label(name):
    assert (findings_of(name), unknown_of(name), as_words(name)) == ({name}, set(), name)


def test_what_a_label_says_nothing_of_is_neither_there_nor_absent():
    label = pack(["mass"], ["nodule"])
    assert [says(label, name) for name in ("mass", "nodule", "effusion")] == [True, None, False]
    assert has_any(label, ["mass", "effusion"])
    assert not has_any(label, ["nodule"])


def test_people_read_the_findings_and_not_the_text():
    assert as_words(pack(["nodule", "mass"], ["rib"])) == "mass, nodule (uncertain: rib)"
    assert (as_words(pack([])), as_words(None)) == ("no finding", "")


def test_most_decide_for_each_finding_and_the_uncertain_do_not_vote():
    labels = [pack(["a", "b"]), pack(["a"], ["b"]), pack(["c"])]
    assert majority(labels) == pack(["a"], ["b"])
    assert completed(majority(labels), pack(["b"])) == pack(["a", "b"])


def test_labels_dispute_what_one_gives_and_another_denies():
    assert disputed([pack(["a", "b"]), pack(["a"])]) == {"b"}
    assert disputed([pack(["a", "b"]), pack(["a"], ["b"])]) == set()
    assert disputed(["x", "y"]) == {"x", "y"}
    assert disputed(["x", "x"]) == set()
