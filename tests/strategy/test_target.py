import pytest

from clinical_backend.rounds.due import reason_for_labels, reason_for_queue
from clinical_backend.strategy.target import find_target

CLASSES = ("a", "b", "c")


def found(target):
    return target.classes, target.query, target.passed_over


def test_tags_name_the_target_while_nobody_else_does():
    labels = {1: "a", 2: "a", **dict.fromkeys(range(3, 20), "b")}
    target = find_target(labels, (2,), (), (), CLASSES)
    assert (target.classes, target.query, target.exemplars) == (("a",), (2, 1), 1)


def test_what_the_lead_named_is_the_target_whatever_is_tagged():
    labels = {1: "a", 2: "a", 3: "c", **dict.fromkeys(range(4, 20), "b")}
    target = find_target(labels, (2, 3), (), ("a",), CLASSES)
    assert found(target) == (("a",), (2, 1), (3,))
    assert target.exemplars == 1
    assert find_target(labels, (2,), (), ("c",), CLASSES).classes == ("c",)
    assert find_target(labels, (2,), (), ("c", "a"), CLASSES).classes == ("a", "c")


def test_a_named_class_is_sought_however_common_and_an_exemplar_without_a_class_stands_beside_it():
    labels = dict.fromkeys(range(1, 31), "a") | {31: "b"}
    target = find_target(labels, (40, 31), (), ("a",), CLASSES)
    assert target.query == (40, *range(1, 31))
    assert target.passed_over == (31,)


def test_without_the_leads_choice_the_tags_count_again():
    labels = {1: "a", 2: "c", **dict.fromkeys(range(4, 20), "b")}
    assert find_target(labels, (2,), (), ("a",), CLASSES).classes == ("a",)
    assert find_target(labels, (2,), (), (), CLASSES).classes == ("c",)
    assert find_target(labels, (), (), (), CLASSES).classes == ()


def test_a_class_that_the_labeling_config_lacks_leaves_the_tags_and_the_other_named_ones():
    labels = {1: "a", 2: "b"}
    assert find_target(labels, (1,), (), ("A",), CLASSES).classes == ("a",)
    assert find_target(labels, (1,), (), ("A", "b"), CLASSES).classes == ("b",)
    assert find_target(labels, (), (), ("b, c", "b"), ("a", "b, c")).classes == ("b, c",)


@pytest.mark.parametrize("classes", [tuple("abc"), tuple("abcdefgh")])
@pytest.mark.parametrize("slips", [1, 2])
def test_one_tag_in_five_on_a_common_class_changes_nothing(classes, slips):
    exemplars = range(1, 5 * slips + 1)
    tagged = {task: "a" if task > slips else "b" for task in exemplars}
    labels = tagged | dict.fromkeys(range(100, 112), "b") | dict.fromkeys(range(112, 130), "c")
    target = find_target(labels, exemplars, (), (), classes)
    assert found(target) == (("a",), tuple(exemplars)[slips:], tuple(exemplars)[:slips])
    assert target.chance_hits == 0


def test_a_stray_tag_waits_for_labels_that_show_its_class_rare():
    classes, tagged = tuple("abcdefgh"), dict.fromkeys(range(1, 5), "a") | {5: "b"}
    assert find_target(tagged, range(1, 6), (), (), classes).passed_over == (5,)
    others = dict.fromkeys(range(100, 130), "c")
    assert find_target(tagged | others, range(1, 6), (), (), classes).classes == ("a", "b")
    # Labels that were sought tell nothing of how frequent a class is.
    assert find_target(tagged | others, range(1, 6), (), (), classes, targeted=range(100, 130)).classes == ("a",)


def test_slips_that_all_fall_on_one_class_are_stray_beside_two_rare_ones():
    tagged = dict(enumerate("aaaabbbbcc", start=1))
    assert found(find_target(tagged, range(1, 11), (), (), tuple("abcdefg"))) == (
        ("a", "b"),
        tuple(range(1, 9)),
        (9, 10),
    )


@pytest.mark.parametrize("share", [0, 1, 3])
def test_two_rare_classes_that_are_tagged_are_both_the_target(share):
    tagged = {1: "a", 2: "a", 3: "a", 4: "b", 5: "b"}
    others = dict.fromkeys(range(100, 100 + share), "b") | dict.fromkeys(range(200, 260), "c")
    assert find_target(tagged, range(1, 6), (), (), CLASSES).classes == ("a", "b")
    target = find_target(tagged | others, range(1, 6), (), (), CLASSES)
    assert (target.classes, target.passed_over) == (("a", "b"), ())


def test_many_tags_do_not_make_a_common_class_rare_and_what_is_common_depends_on_the_other():
    def meant(tagged, of_b, of_a, others):
        labels = dict(enumerate(tagged, start=1)) | dict.fromkeys(range(100, 100 + of_b), "b")
        labels |= dict.fromkeys(range(400, 400 + of_a), "a") | dict.fromkeys(range(800, 800 + others), "c")
        return find_target(labels, range(1, len(tagged) + 1), (), (), CLASSES).classes

    assert meant("aaabb", 12, 0, 28) == ("a",)
    assert meant("aabbb", 12, 0, 28) == ("a",), "the most tagged of two may be the common one"
    assert meant("aaabb", 22, 2, 176) == ("a",), "11 % beside 1 %"
    assert meant("aaabb", 22, 20, 158) == ("a", "b"), "11 % beside 10 %"
    assert meant("aaabb", 6, 2, 192) == ("a", "b"), "3 % beside 1 %"


def test_a_class_that_is_tagged_alone_is_meant_even_where_it_is_common_among_few_labels():
    labels = dict.fromkeys(range(1, 20), "a") | {20: "b"}
    assert find_target(labels, (1, 2), (), (), CLASSES).classes == ("a",)
    two = dict.fromkeys(range(1, 55), "normal") | dict.fromkeys(range(55, 61), "abnormal")
    assert find_target(two, (55,), (), (), ("normal", "abnormal")).classes == ("abnormal",)


@pytest.mark.parametrize("normal", [1, 2, 3])
def test_of_two_classes_the_rarer_is_meant(normal):
    labels = dict.fromkeys(range(1, 55), "normal") | dict.fromkeys(range(55, 61), "abnormal")
    exemplars = (*range(1, normal + 1), 55, 56)
    target = find_target(labels, exemplars, (), (), ("normal", "abnormal"))
    assert (target.classes, target.passed_over) == (("abnormal",), tuple(range(1, normal + 1)))


def test_a_class_that_the_lead_declined_is_meant_by_no_tag():
    labels = {1: "a", 2: "a", 3: "b", 4: "b"}
    assert found(find_target(labels, (1, 2, 3, 4), (), (), CLASSES, declined=("b",))) == (("a",), (1, 2), (3, 4))
    assert found(find_target(labels, (3, 4), (), (), CLASSES, declined=("b",))) == ((), (), (3, 4))
    assert find_target(labels, (3, 4), (), ("b",), CLASSES, declined=("b",)).classes == ("b",)


def test_exemplars_without_a_class_steer_and_make_no_target():
    target = find_target({3: "b"}, (1, 2), (), (), CLASSES)
    assert found(target) == ((), (1, 2), ())
    assert target.exemplars == 2


def test_a_tag_that_is_removed_changes_nothing_any_more():
    labels = {1: "a", 2: "c", **dict.fromkeys(range(4, 40), "b")}
    assert find_target(labels, (1, 2), (), (), CLASSES).classes == ("a", "c")
    assert find_target(labels, (1,), (), (), CLASSES).classes == ("a",)


def test_a_class_that_is_common_does_not_drown_its_exemplar():
    labels = dict.fromkeys(range(1, 20), "a") | {20: "b"}
    assert find_target(labels, (1,), (), (), CLASSES).query == (1,)


def test_a_class_that_the_queue_was_turned_to_stays_rare_however_many_are_found():
    labels = dict.fromkeys(range(1, 31), "a") | dict.fromkeys(range(31, 51), "b")
    assert len(find_target(labels, (1,), (), (), CLASSES, targeted=range(2, 31)).query) == 30
    assert find_target(labels, (1,), (), (), CLASSES).query == (1,)


def test_seeking_is_doubted_as_long_as_it_yields_little():
    def doubt(hits, misses, chance_hits=0, chance=0):
        names = ["a"] * hits + ["b"] * misses + ["a"] * chance_hits + ["b"] * chance
        labels = {0: "a"} | dict(enumerate(names, start=1))
        return find_target(labels, (0,), (), (), CLASSES, targeted=range(1, hits + misses + 1)).doubt

    assert doubt(0, 0, 0, 50) == 0.0
    assert doubt(0, 200) > 0.9 > 0.4 > doubt(0, 20)  # of a finding of one in a hundred, none in twenty tells little
    assert doubt(0, 20, 2, 38) > 0.6  # and much of one in twenty
    assert doubt(0, 40) > doubt(1, 39) > doubt(4, 36) > doubt(10, 30)
    assert doubt(10, 30) < 0.01
    # Two in forty are much where one in two hundred is what other labels meet, and nothing where one in ten is.
    assert doubt(2, 38, 1, 199) < 0.1 < 0.5 < doubt(2, 38, 20, 180)


def test_labels_for_the_classifier_tell_neither_how_frequent_a_class_is_nor_whether_seeking_pays():
    labels = dict.fromkeys(range(1, 11), "a") | dict.fromkeys(range(11, 51), "b")
    given = {"targeted": range(2, 4), "for_classifier": range(4, 31)}
    target = find_target(labels, (1,), (), (), CLASSES, **given)
    assert (target.sought, target.hits) == (2, 2)
    assert (target.unsought, target.chance_hits, target.met) == (20, 0, {"b": 20})
    assert target.query == tuple(range(1, 11))
    usual = find_target(labels, (1,), (), (), CLASSES, targeted=range(2, 4))
    assert (usual.unsought, usual.chance_hits) == (47, 7)


def test_no_class_is_made_the_target_by_its_share_alone():
    labels = dict.fromkeys(range(1, 100), "a") | {100: "b"}
    target = find_target(labels, (), (), (), CLASSES)
    assert found(target) == ((), (), ())
    assert target.met == {"a": 99, "b": 1}


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
    now = {1: ("b", 0), 2: ("b", 0), 4: ("a", 0), 5: ("a", 0)}
    assert reason_for_labels(before, now, 3) == "3 annotations changed"
    assert reason_for_labels(before, now, 4) is None


def test_a_deleted_annotation_counts_at_once():
    assert reason_for_labels({1: ("a", 0), 2: ("b", 0)}, {1: ("a", 0)}, 10) == "annotations were deleted"
