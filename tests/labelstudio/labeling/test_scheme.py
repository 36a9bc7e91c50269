"""Labeling configs: what is found in them, and what is refused."""

from __future__ import annotations

import pytest

from clinical_backend.errors import InvalidArgumentError, LabelingConfigError
from clinical_backend.labelstudio.labeling.regions import choice_result, text_result
from clinical_backend.labelstudio.labeling.scheme import (
    LabelingScheme,
    class_controls,
    has_reason_control,
    read_scheme,
)

IMAGE = '<Image name="image" value="$image"/>'
CLASSES = '<Choices name="diagnosis" toName="image" choice="single"><Choice value="a"/><Choice value="b"/></Choices>'
EXEMPLARS = (
    '<Choices name="exemplar" toName="image" choice="multiple" required="false">'
    '<Choice value="more like this"/><Choice value="not like this"/></Choices>'
)


def view(*tags):
    return "<View>" + "".join(tags) + "</View>"


def choices(*values, name="diagnosis", attributes=""):
    tags = "".join(f'<Choice value="{value}"/>' for value in values)
    return f'<Choices name="{name}" toName="image" {attributes}>{tags}</Choices>'


def test_the_config_of_the_readme_is_read():
    assert read_scheme(view(IMAGE, CLASSES, EXEMPLARS)) == LabelingScheme(
        image_name="image",
        image_field="image",
        class_control="diagnosis",
        classes=("a", "b"),
        exemplar_control="exemplar",
        more_value="more like this",
        less_value="not like this",
    )


def test_a_config_without_exemplar_control_is_read():
    scheme = read_scheme(view(IMAGE, CLASSES))
    assert (scheme.exemplar_control, scheme.more_value, scheme.less_value) == (None, None, None)


def test_single_is_the_default_and_depth_does_not_matter():
    scheme = read_scheme(f"<View><View style='x'><Header value='h'/>{IMAGE}</View>{choices('a', 'b')}</View>")
    assert scheme.classes == ("a", "b")


def test_radio_buttons_are_single_choices():
    assert read_scheme(view(IMAGE, choices("a", "b", attributes='choice="single-radio"'))).classes == (
        "a",
        "b",
    )


def test_the_first_single_choice_on_an_image_holds_the_classes():
    text = '<Text name="text" value="$text"/>'
    on_text = CLASSES.replace('toName="image"', 'toName="text"').replace("diagnosis", "about_text")
    several = choices("x", "y", name="findings", attributes='choice="multiple"')
    second = choices("x", "y", name="quality")
    scheme = read_scheme(view(text, on_text, IMAGE, several, CLASSES, second))
    assert scheme.class_control == "diagnosis"


@pytest.mark.parametrize("flag", ["perRegion", "perItem"])
def test_choices_for_regions_and_items_are_passed_over(flag):
    regional = choices("x", "y", name="regional", attributes=f'{flag}="true"')
    assert read_scheme(view(IMAGE, regional, CLASSES)).class_control == "diagnosis"


def test_an_alias_is_what_stands_in_annotations():
    tags = '<Choice value="A long name" alias="a"/><Choice value="b"/>'
    config = view(IMAGE, f'<Choices name="diagnosis" toName="image">{tags}</Choices>')
    assert read_scheme(config).classes == ("a", "b")


def test_the_image_field_follows_its_value():
    assert read_scheme(view('<Image name="image" value="$scan.url"/>', CLASSES)).image_field == "scan.url"


@pytest.mark.parametrize(
    ("values", "more", "less"),
    [
        (["more like this", "not like this"], "more like this", "not like this"),
        (["not like this", "more like this"], "more like this", "not like this"),
        (["exemplar"], "exemplar", None),
        (["ja", "nein"], "ja", "nein"),
        (["disease-like", "unlike"], "disease-like", "unlike"),
        (["Notable", "Less like this"], "Notable", "Less like this"),
        (["not like this"], None, "not like this"),
    ],
)
def test_the_choices_that_steer_are_told_apart(values, more, less):
    tags = choices(*values, name="exemplar", attributes='choice="multiple"')
    scheme = read_scheme(view(IMAGE, CLASSES, tags))
    assert (scheme.more_value, scheme.less_value) == (more, less)


def test_the_exemplar_control_may_have_another_name():
    config = view(IMAGE, EXEMPLARS.replace('"exemplar"', '"seek"'), CLASSES)
    assert read_scheme(config, "seek").exemplar_control == "seek"


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ("", "XML"),
        ("<View>", "XML"),
        ("plain text", "XML"),
        ('<!DOCTYPE x [<!ENTITY e "y">]><View>&e;</View>', "entities"),
        ("<View>\udc80</View>", "XML"),
        (view(CLASSES), "no Image"),
        (view('<Image value="$image"/>', CLASSES), "no Image"),
        (view(IMAGE), "no Choices"),
        (view(IMAGE, EXEMPLARS), "no Choices"),
        (view(IMAGE, choices("a", "b", attributes='choice="many"')), "choice='many'"),
        (view(IMAGE, choices("a", "b", attributes='perRegion="true"')), r"'diagnosis' is about regions \(perRegion\)"),
        (view(IMAGE, choices("a", "b", attributes='peritem="true"')), r"about items of a list \(peritem\)"),
        (view(IMAGE, choices("a", "b", attributes='allowNested="true"')), "allowNested"),
        (view(IMAGE, choices("a", "b").replace('toName="image"', "")), "does not say which Image"),
        (view(IMAGE, choices("a", "b").replace('toName="image"', 'toname="image"')), "toName in another case"),
        (
            view(IMAGE, IMAGE.replace('"image"', '"two"'), choices("a", "b").replace('"image"', '"image,two"')),
            "several",
        ),
        (view(IMAGE, '<Taxonomy name="t" toName="image"/>'), "Taxonomy 't' names no finding"),
        (view(IMAGE, '<Taxonomy name="t" toName="image" apiUrl="https://x"/>'), "or from elsewhere"),
        (view(IMAGE, '<taxonomy name="t" toName="image"><Choice value="a"/></taxonomy>'), "writes the tag <taxonomy>"),
        (view(IMAGE, '<Rating name="t" toName="image"/>'), "Rating 't' are numbers of stars"),
        (view(IMAGE, '<Number name="t" toName="image"/>'), "Number 't' are numbers"),
        (view(IMAGE, '<RectangleLabels name="r" toName="image"><Label value="L"/></RectangleLabels>'), "are regions"),
        (view(IMAGE.replace("Image", "image"), CLASSES), "writes the tag <image>"),
        (view(IMAGE, CLASSES.replace("Choices", "choices")), "writes the tag <choices>"),
        (view(IMAGE, CLASSES.replace("<Choice ", "<choice ")), "writes its classes as <choice>"),
        (view(IMAGE, '<Choices name="d" toName="image"><Choice>a</Choice><Choice>b</Choice></Choices>'), "as text"),
        (view(IMAGE, choices("a", "price $5")), "data of each task"),
        (view(IMAGE, '<Choices name="d" toName="image"><Choice value="a" alias=""/></Choices>'), "empty alias"),
        (f'<View><Repeater on="$images">{IMAGE}{CLASSES}</Repeater></View>', "Repeater"),
        (view(IMAGE.replace("$image", "$images[{{idx}}]"), CLASSES), "Repeater"),
        (view(IMAGE, choices("a")), "fewer than two"),
        (view(IMAGE, choices("a", "a")), "lists the class 'a' more than once"),
        (view(IMAGE, CLASSES, CLASSES), "more than once"),
        (view(IMAGE, choices("x", "y", name="image")), "more than once"),
        (view(IMAGE, choices("a", "$b")), "data of each task"),
        (view(IMAGE, '<Choices name="d" toName="image" value="$options"/>'), "data of each task"),
        (
            view(
                IMAGE,
                choices("a", "b").replace('<Choice value="a"/>', '<Choice value="a"><Choice value="c"/></Choice>'),
            ),
            "nests",
        ),
        (view('<Image name="image" valueList="https://host/$images"/>', CLASSES), "more than one field"),
        (view('<Image name="image" value="scan.png"/>', CLASSES), "from a field"),
        (view('<Image name="image"/>', CLASSES), "from a field"),
        (view(IMAGE, CLASSES, '<TextArea name="exemplar" toName="image"/>'), "no Choices on the image"),
    ],
)
def test_what_a_classifier_cannot_learn_from_is_refused_with_a_cure(config, problem):
    with pytest.raises(LabelingConfigError, match=problem) as refusal:
        read_scheme(config)
    assert refusal.value.cure


@pytest.mark.parametrize(
    "around",
    [
        "{}<!-- </View> -->",
        "<!-- a -->{}",
        '<?xml version="1.0" encoding="utf-8"?>\n{}',
        "\ufeff{}",
        "<?style x?>{}\n\n",
    ],
)
def test_what_stands_around_the_root_is_passed_over(around):
    assert read_scheme(around.format(view("<Style>.a { b: c }</Style>", IMAGE, CLASSES))).classes == ("a", "b")


def test_a_class_keeps_the_spaces_that_answers_have_and_an_alias_hides_a_dollar():
    tags = '<Choice value=" a "/><Choice value="US$5" alias="five" hint="h" html="&lt;b&gt;"/>'
    scheme = read_scheme(view(IMAGE, f'<Choices name="d" toName="image" layout="select">{tags}</Choices>'))
    assert (scheme.classes, scheme.displayed) == ((" a ", "five"), {"US$5": "five"})


QUALITY = choices("good", "poor", name="quality")
FINDINGS = choices("oedema", "mass", name="findings", attributes='choice="multiple"')
REGIONS = choices("a", "b", name="regions", attributes='perRegion="true"')


def test_which_control_is_learnt_is_said_and_chosen():
    config = view(IMAGE, QUALITY, CLASSES, FINDINGS, EXEMPLARS, '<Rating name="stars" toName="image"/>')
    scheme = read_scheme(config)
    assert (scheme.class_control, scheme.not_learnt) == ("quality", ("diagnosis", "findings", "stars"))
    assert scheme.learnt == (
        "Readers choose one of 2 classes in 'quality', which is learnt; 'diagnosis', 'findings' and 'stars' are not."
    )
    chosen = read_scheme(config, class_control="diagnosis")
    assert (chosen.classes, chosen.not_learnt) == (("a", "b"), ("quality", "findings", "stars"))
    assert class_controls(config) == ("quality", "diagnosis", "findings")
    assert read_scheme(view(IMAGE, CLASSES, EXEMPLARS)).learnt == "Readers choose one of 2 classes in 'diagnosis'."


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("diagnose", "no control 'diagnose' on an Image"),
        ("regions", "'regions' is about regions"),
        ("exemplar", "tags exemplars"),
    ],
)
def test_a_control_that_cannot_be_learnt_is_refused_with_the_names_of_those_that_can(name, problem):
    with pytest.raises(LabelingConfigError, match=problem) as refusal:
        read_scheme(view(IMAGE, QUALITY, CLASSES, FINDINGS, REGIONS, EXEMPLARS), class_control=name)
    assert "'quality', 'diagnosis' and 'findings'" in refusal.value.cure


def test_a_control_that_cannot_be_learnt_does_not_stand_in_the_way_of_one_that_can():
    dynamic = '<Choices name="first" toName="image" value="$options"/>'
    repeated = f'<Repeater on="$more">{QUALITY}</Repeater>'
    scheme = read_scheme(view(IMAGE, dynamic, repeated, CLASSES))
    assert (scheme.class_control, scheme.not_learnt) == ("diagnosis", ("first",))


def test_a_prediction_chooses_a_class_and_has_no_score_that_would_read_as_a_confidence():
    scheme = read_scheme(view(IMAGE, CLASSES))
    [region] = choice_result(scheme, "a")
    assert region == {
        "from_name": "diagnosis",
        "to_name": "image",
        "type": "choices",
        "value": {"choices": ["a"]},
    }


def test_a_prediction_of_an_unknown_class_is_refused():
    with pytest.raises(InvalidArgumentError, match="unheard"):
        choice_result(read_scheme(view(IMAGE, CLASSES)), "unheard")


@pytest.mark.parametrize(
    ("control", "found"),
    [
        ('<TextArea name="reason" toName="image" visibleWhen="choice-unselected"/>', "reason"),
        ('<TextArea name="reason" toName="image" visiblewhen="choice-unselected" whenTagName="diagnosis"/>', "reason"),
        ('<TextArea name="reason" toName="image"/>', None),
        ('<TextArea name="reason" toName="image" visibleWhen="choice-selected"/>', None),
        ('<TextArea name="reason" toName="image" visibleWhen="choice-unselected" whenTagName="exemplar"/>', None),
        ('<TextArea name="reason" toName="image" visibleWhen="choice-unselected" whenChoiceValue="a"/>', None),
        ('<TextArea name="report" toName="image" visibleWhen="choice-unselected"/>', None),
        ('<TextArea name="reason" toName="image" perRegion="true" visibleWhen="choice-unselected"/>', None),
        ("", None),
    ],
)
def test_the_reason_is_written_only_where_label_studio_leaves_it_out_of_answers(control, found):
    config = (
        '<View><Image name="image" value="$image"/><Choices name="diagnosis" toName="image">'
        f'<Choice value="a"/><Choice value="b"/></Choices>{control}</View>'
    )
    scheme = read_scheme(config)
    assert scheme.reason_control == found
    assert has_reason_control(config) == ('name="reason"' in control)
    regions = text_result(scheme, "P(rare) is 90%.")
    assert [region["value"] for region in regions] == ([{"text": ["P(rare) is 90%."]}] if found else [])
