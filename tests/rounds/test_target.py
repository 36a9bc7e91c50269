import pytest

from clinical_backend.rounds.target import find_target
from clinical_backend.rounds.trigger import reason_for_labels, reason_for_queue

CLASSES = ("a", "b", "c")


def test_exemplars_come_first_and_bring_their_rare_class():
    labels = {1: "a", 2: "a", **dict.fromkeys(range(3, 20), "b")}
    target = find_target(labels, (2,), (), ("c",), CLASSES)
    assert (target.classes, target.query, target.exemplars) == (("a",), (2, 1), 1)


def test_a_class_that_is_common_does_not_drown_its_exemplar():
    labels = dict.fromkeys(range(1, 20), "a") | {20: "b"}
    assert find_target(labels, (1,), (), (), CLASSES).query == (1,)


def test_a_class_that_the_queue_was_turned_to_stays_rare_however_many_are_found():
    labels = dict.fromkeys(range(1, 31), "a") | dict.fromkeys(range(31, 51), "b")
    assert len(find_target(labels, (1,), (), (), CLASSES, targeted=range(2, 31)).query) == 30
    assert find_target(labels, (), (), (), CLASSES, targeted=range(1, 31)).classes == ("a",)
    assert find_target(labels, (1,), (), (), CLASSES).query == (1,)


def test_seeking_is_doubted_as_long_as_it_yields_little():
    def doubt(hits, misses, chance_hits=0, chance=0):
        names = ["a"] * hits + ["b"] * misses + ["a"] * chance_hits + ["b"] * chance
        labels = {0: "a"} | dict(enumerate(names, start=1))
        return find_target(labels, (0,), (), (), CLASSES, targeted=range(1, hits + misses + 1)).doubt

    assert doubt(0, 0, 0, 50) == 0.0
    assert doubt(0, 20) > 0.8
    assert doubt(0, 40) > doubt(1, 39) > doubt(4, 36) > doubt(10, 30)
    assert doubt(10, 30) < 0.01
    # Two in forty are much where one in two hundred is what other labels meet, and nothing where one in ten is.
    assert doubt(2, 38, 1, 199) < 0.1 < 0.5 < doubt(2, 38, 20, 180)


def test_without_exemplars_the_setting_names_the_target():
    target = find_target({1: "a", 2: "b"}, (), (), ("b", "unknown"), CLASSES)
    assert (target.classes, target.query) == (("b",), (2,))


def test_without_either_what_proved_rare_is_the_target():
    labels = dict.fromkeys(range(1, 30), "a") | {30: "b"}
    assert find_target(labels, (), (), (), CLASSES).classes == ("b",)
    assert find_target({1: "a", 2: "b"}, (), (), (), CLASSES).classes == ()


def test_a_class_that_nobody_met_may_be_the_target_until_labels_that_sought_nothing_would_have_met_it():
    def missed(count, *, named=(), exemplars=(), targeted=()):
        labels = {0: "b"} | dict.fromkeys(range(1, count), "a")
        return find_target(labels, exemplars, (), named, CLASSES, targeted=targeted).missed

    assert missed(30) == pytest.approx(0.99**30)
    assert missed(300) < 0.05 < missed(300, targeted=range(100, 300))
    assert missed(30, named=("b",)) == missed(30, exemplars=(0,)) == 0.0
    everything = dict.fromkeys(range(30), "a") | {30: "b", 31: "c"}
    assert find_target(everything, (), (), (), CLASSES).missed == 0.0


def test_a_counter_exemplar_is_never_in_the_query_set():
    assert find_target({1: "a", 2: "a", 3: "b", 4: "b"}, (1,), (2,), (), CLASSES).query == (1,)


def test_a_queue_that_runs_low_is_renewed_unless_nothing_else_is_left():
    assert reason_for_queue(4, 20, 100)
    assert reason_for_queue(5, 20, 100) is None
    assert reason_for_queue(3, 20, 3) is None


def test_changed_exemplars_count_at_once_and_labels_from_the_nth_on():
    before = {1: ("a", 0), 2: ("b", 0)}
    assert reason_for_labels(before, before | {3: ("a", 1)}, 10) == "the exemplars changed"
    assert reason_for_labels(before | {3: ("a", 1)}, before, 10) == "the exemplars changed"
    assert reason_for_labels(before, {1: ("b", 0), 4: ("a", 0)}, 3) == "3 annotations changed"
    assert reason_for_labels(before, {1: ("b", 0), 4: ("a", 0)}, 4) is None
