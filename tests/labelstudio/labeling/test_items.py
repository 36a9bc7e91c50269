"""Answers about single images of a list: what they say of each, and of the task that shows them."""

import pytest

from clinical_backend.errors import LabelingConfigError
from clinical_backend.labelstudio.labeling.answers import Why
from clinical_backend.labelstudio.labeling.labels import read_labels
from clinical_backend.labelstudio.labeling.regions import image_results
from clinical_backend.labelstudio.labeling.scheme import read_scheme
from clinical_backend.labelstudio.resources import AnnotatedTask
from clinical_backend.multilabel import pack

LIST = '<Image name="image" valueList="$images"/>'
TAGS = ("more like this", "not like this")


def choices(name, *values, attributes='perItem="true"'):
    inner = "".join(f'<Choice value="{value}"/>' for value in values)
    return f'<Choices name="{name}" toName="image" {attributes}>{inner}</Choices>'


def scheme_of(*tags, image=LIST, **options):
    return read_scheme(f"<View>{image}{''.join(tags)}</View>", **options)


SINGLE = choices("diagnosis", "common", "benign", "rare", "No finding")
TICKED = choices("diagnosis", "No finding", "mass", "nodule", attributes='choice="multiple" perItem="true"')


def said(name, item=None, control="diagnosis"):
    """Return a region as Label Studio 1.23.2 stores it: the item stands beside the value."""
    names = name if isinstance(name, list) else [name]
    region = {"from_name": control, "to_name": "image", "type": "choices", "value": {"choices": names}}
    return region if item is None else region | {"item_index": item}


def labels_of(scheme, *tasks):
    """Read the labels of tasks 1, 2, … of which each has the answers of so many readers, as lists of regions."""
    created = "2026-01-02T00:00:00Z"
    read = [
        AnnotatedTask.model_validate(
            {
                "id": number,
                "created_at": "2026-01-01T00:00:00Z",
                "annotations": [
                    {"id": place, "completed_by": place, "created_at": created, "lead_time": 4.0, "result": result}
                    for place, result in enumerate(answers, start=1)
                ],
            }
        )
        for number, answers in enumerate(tasks, start=1)
    ]
    return read_labels(scheme, read)


def test_a_config_that_asks_of_each_image_is_read_and_said():
    scheme = scheme_of(SINGLE)
    assert scheme.per_item
    assert scheme.learnt == "Readers choose one of 4 classes for each image of a task in 'diagnosis'."
    assert "findings each image of a task has in 'diagnosis'" in scheme_of(TICKED).learnt
    beside = scheme_of(SINGLE, image=LIST + '<Image name="overview" value="$overview"/>')
    assert beside.learnt.endswith("; beside other Image tags what is said of an image is learnt of its task alone.")


def test_a_control_about_the_whole_task_goes_before_one_about_its_images():
    about_all = choices("whole", "a", "b", attributes='choice="multiple"')
    scheme = scheme_of(SINGLE, about_all)
    assert (scheme.class_control, scheme.per_item, scheme.not_learnt) == ("whole", False, ("diagnosis",))
    assert scheme_of(SINGLE, about_all, class_control="diagnosis").per_item


def test_questions_about_images_and_about_the_task_are_not_mixed():
    asked = [choices(name, "yes", "no") for name in ("mass", "nodule")]
    scheme = scheme_of(*asked, choices("artefact", "yes", "no", attributes=""), class_control=None)
    assert scheme.class_control == "artefact"
    assert scheme_of(*asked).several.names == ("mass", "nodule")


def test_items_of_an_image_that_shows_no_list_are_refused_with_the_cure():
    with pytest.raises(LabelingConfigError, match='Show the list with valueList="\\$images", or take perItem away'):
        scheme_of(SINGLE, image='<Image name="image" value="$image"/>')


def test_the_class_that_fewest_images_have_decides_what_a_task_is():
    labels = labels_of(
        scheme_of(SINGLE),
        [[said("common", 0), said("common", 1), said("rare", 2), said("benign", 3)]],
        [[said("benign", 0), said("common", 1), said("benign", 2)]],
        [[said("common", 0), said("common", 3)]],
        [[said("No finding", 0), said("common", 1)]],
        [[said("No finding", 0)]],
    )
    assert labels.classes == {1: "rare", 2: "benign", 3: "common", 4: "common", 5: "No finding"}
    assert labels.images[1] == {0: "common", 1: "common", 2: "rare", 3: "benign"}


def test_a_class_that_is_looked_for_by_name_decides_however_many_images_have_it():
    answers = [[said("common", 0), said("common", 1), said("rare", 2)]], [[said("rare", 0)]]
    assert labels_of(scheme_of(SINGLE, named=("common",)), *answers).classes == {1: "common", 2: "rare"}


def test_a_task_has_all_findings_of_its_images():
    labels = labels_of(
        scheme_of(TICKED),
        [[said("mass", 0), said("No finding", 1), said(["nodule", "mass"], 2)]],
        [[said("No finding", 0), said("No finding", 1)]],
    )
    assert labels.classes == {1: pack(["mass", "nodule"]), 2: pack([])}
    assert labels.images[1] == {0: pack(["mass"]), 1: pack([]), 2: pack(["mass", "nodule"])}


def test_yes_for_one_image_and_no_for_another_is_no_contradiction():
    scheme = scheme_of(*[choices(name, "yes", "no", "unsure") for name in ("mass", "nodule")])
    labels = labels_of(
        scheme,
        [[said("yes", 0, "mass"), said("no", 0, "nodule"), said("no", 1, "mass"), said("unsure", 1, "nodule")]],
    )
    assert labels.classes == {1: pack(["mass"], ["nodule"])}


@pytest.mark.parametrize(
    ("config", "regions", "why"),
    [
        (SINGLE, [said("common", 0), said("gone", 1)], Why.UNKNOWN),
        (SINGLE, [said("common", 0), said(["common", "rare"], 1)], Why.SEVERAL),
        (TICKED, [said("mass", 0), said(["No finding", "mass"], 1)], Why.CONTRADICTORY),
        (SINGLE, [said("more like this", 0, "exemplar")], Why.NO_CLASS),
    ],
)
def test_an_image_whose_answer_cannot_be_read_may_have_decided_so_that_the_task_has_no_label(config, regions, why):
    labels = labels_of(scheme_of(config, choices("exemplar", *TAGS)), [regions])
    assert labels.classes == {}
    assert labels.unread[1].why is why


def test_an_answer_that_names_no_image_is_about_the_task():
    labels = labels_of(scheme_of(SINGLE), [[said("rare"), said("common", 1)]])
    assert (labels.classes, labels.images) == ({1: "rare"}, {1: {1: "common"}})


def test_readers_agree_image_by_image_and_on_the_task():
    labels = labels_of(
        scheme_of(SINGLE),
        [[said("rare", 0), said("common", 1)], [said("rare", 0), said("No finding", 1)]],
        [[said("rare", 0)], [said("common", 0)]],
        [[said("common", 0), said("common", 1)]],
    )
    assert labels.classes == {1: "rare", 3: "common"}
    assert labels.images == {1: {0: "rare"}, 3: {0: "common", 1: "common"}}
    assert set(labels.disagreed) == {2}


def test_a_tag_on_an_image_makes_the_task_an_exemplar_and_names_the_image():
    scheme = scheme_of(
        choices("diagnosis", "a", "b", attributes=""), choices("exemplar", *TAGS, attributes='perItem="true"')
    )
    more, less = (lambda item, tag=tag: said(tag, item, "exemplar") for tag in TAGS)
    labels = labels_of(
        scheme,
        [[said("a"), more(2), more(3), less(0)]],
        [[said("a"), less(1)]],
        [[said("a"), more(1), less(1)]],
    )
    assert (labels.exemplars, labels.counter_exemplars, labels.conflicting_tags) == ((1,), (2,), {3})
    assert labels.tagged_images == {1: {2, 3}}


def test_predictions_name_the_image_beside_the_value():
    regions = image_results(scheme_of(SINGLE), {3: "rare", 0: "common"})
    assert regions == [said("common", 0), said("rare", 3)]
    assert image_results(scheme_of(TICKED), {1: pack(["mass"]), 0: pack([])}) == [
        said("No finding", 0),
        said("mass", 1),
    ]


def test_readers_who_answer_different_images_contradict_nobody():
    labels = labels_of(
        scheme_of(SINGLE),
        [[said("rare", 0)], [said("common", 1)], [said("common", 1)]],
        [[said("rare", 0)], [said("common", 0), said("common", 1)], [said("common", 1)]],
        [[said("rare", 0)], [said("common")]],
        [[said("rare", 0)], [said("more like this", 1, "exemplar")]],
    )
    assert labels.classes == {1: "rare", 2: "common", 4: "rare"}
    assert labels.images[1] == {0: "rare", 1: "common"}
    assert set(labels.disputed) == {2, 3}
    assert not labels.corrected


def test_readers_who_answer_different_images_agree_as_second_readings_too():
    labels = labels_of(
        scheme_of(SINGLE),
        [[said("rare", 0), said("common", 1)], [said("common", 1)]],
        [[said("rare", 0)], [said("common", 0), said("common", 1)]],
        [[said("rare", 0)], [said("common")]],
    )
    assert labels.read_twice == {
        1: ((1, "rare"), (2, "rare")),
        2: ((1, "rare"), (2, "common")),
        3: ((1, "rare"), (2, "common")),
    }


def test_who_ticks_nothing_of_any_image_goes_along_with_nobody():
    labels = labels_of(scheme_of(TICKED), [[said("mass", 0)], [said([], 1)]])
    assert labels.classes == {1: pack(["mass"])}
    assert not labels.read_twice


def test_findings_of_different_images_are_put_together_whoever_named_them():
    labels = labels_of(scheme_of(TICKED), [[said("mass", 0)], [said("No finding", 1)], [said("nodule", 2)]])
    assert labels.classes == {1: pack(["mass", "nodule"])}
    assert not labels.disputed
    assert labels.images == {1: {0: pack(["mass"]), 1: pack([]), 2: pack(["nodule"])}}


@pytest.mark.parametrize("item", [-1, "0", 0.0, True, None, [0], {"at": 0}])
def test_what_is_no_place_in_a_list_is_about_the_task(item):
    region = said("rare") | {"item_index": item}
    labels = labels_of(scheme_of(SINGLE), [[region, said("common", 0)]], [[said("common", 10**12)]])
    assert labels.classes == {1: "rare", 2: "common"}
    assert labels.images == {1: {0: "common"}, 2: {10**12: "common"}}
