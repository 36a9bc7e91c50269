"""Where controls stand beside an image, and where one that tags exemplars is added."""

from __future__ import annotations

import math

import pytest
from playwright.sync_api import expect

from clinical_backend.labelstudio.labeling.layout import EXEMPLAR_HEADER, with_exemplar_control
from clinical_backend.labelstudio.labeling.scheme import read_scheme
from tests.chromium import chromium_browser, needs_chromium, sign_in
from tests.end_to_end.conftest import wait_until

IMAGE = '<Image name="image" value="$image"/>'
CLASSES = '<Choices name="diagnosis" toName="image" choice="single"><Choice value="a"/><Choice value="b"/></Choices>'


def view(*tags):
    return "<View>" + "".join(tags) + "</View>"


def test_an_image_above_its_choices_gets_them_beside_it_and_the_exemplar_control_under_them():
    config = "<View>\n  <!-- a comment -->\n  " + IMAGE + "\n  " + CLASSES + "\n  <!-- <b> --></View>\n"
    extended = with_exemplar_control(config)
    assert extended.startswith('<View style="display: flex')
    pieces = ("<!-- a comment -->", IMAGE, "</View>", CLASSES, EXEMPLAR_HEADER, 'name="exemplar"', "<!-- <b> -->")
    places = [extended.index(piece) for piece in pieces]
    assert places == sorted(places)
    scheme = read_scheme(extended)
    assert (scheme.more_value, scheme.less_value) == ("more like this", "not like this")
    assert with_exemplar_control(extended) == extended


@pytest.mark.parametrize(
    "laid_out",
    [
        f'<View style="display: flex">{IMAGE}{CLASSES}</View>',
        f"<View><View>{IMAGE}</View><View>{CLASSES}</View></View>",
        view("<Style>.a { b: c }</Style>", IMAGE, CLASSES),
        view(CLASSES, IMAGE),
        view(IMAGE, '<Image name="other" value="$other"/>', CLASSES),
    ],
)
def test_what_somebody_laid_out_stays_and_the_control_follows_that_of_the_classes(laid_out):
    extended = with_exemplar_control(laid_out)
    head, tail = laid_out.split(CLASSES)
    assert extended.startswith(f"{head}{CLASSES}\n  <Header")
    assert extended.endswith(f"</Choices>{tail}")
    assert read_scheme(extended).exemplar_control == "exemplar"


def test_of_a_question_for_each_finding_the_control_follows_the_last():
    ask = '<Choices name="{}" toName="image"><Choice value="yes"/><Choice value="no"/></Choices>'
    config = view(IMAGE, ask.format("nodule"), ask.format("effusion"), '<TextArea name="reason" toName="image"/>')
    extended = with_exemplar_control(config)
    assert extended.index('"effusion"') < extended.index(EXEMPLAR_HEADER) < extended.index('"reason"')


@pytest.mark.parametrize(
    ("before", "after"),
    [("", "<!-- </View> -->"), ("<!-- ü --> \n", '\n<!-- {"data": {"image": "<b>x</b>"}} -->\n'), ("\n  ", "<?end?>")],
)
@pytest.mark.parametrize("image", [IMAGE, IMAGE.replace("$image", '$image" alt="a > b ü')])
def test_the_exemplar_control_is_added_in_the_root_whatever_stands_around_it(before, after, image):
    extended = with_exemplar_control(before + view(image, CLASSES) + after)
    assert extended.startswith(before + "<View")
    assert extended.endswith("</View>" + after)
    assert f"{image}\n</View>" in extended
    assert read_scheme(extended).exemplar_control == "exemplar"


def test_a_control_is_named_in_any_alphabet():
    config = view(
        IMAGE.replace('name="image"', 'name="Bild 1 &amp; 2"'), CLASSES.replace('"image"', '"Bild 1 &amp; 2"')
    )
    scheme = read_scheme(with_exemplar_control(config, 'Beispiel "fÜr" <uns>'), 'Beispiel "fÜr" <uns>')
    assert (scheme.image_name, scheme.exemplar_control) == ("Bild 1 & 2", 'Beispiel "fÜr" <uns>')


@needs_chromium[0]
@needs_chromium[1]
def test_all_choices_stand_on_a_small_screen_and_have_keys(client, label_studio, make_project):
    project = make_project(1, exemplars=False)
    client.update_project(project.id, label_config=with_exemplar_control(project.label_config))
    [task] = client.tasks(project.id)
    with chromium_browser() as chromium:
        page = chromium.new_page(viewport={"width": 1280, "height": 720})
        page.set_default_timeout(120_000)
        sign_in(page, label_studio)
        page.goto(f"{label_studio.url}/projects/{project.id}/data?task={task.id}")
        page.get_by_label("more like this").wait_for()
        names = (*read_scheme(project.label_config).classes, "not like this")
        # The buttons stand below. Label Studio may draw all of it once more after it was there.
        wait_until(lambda: all(bottom(page, name) < 660 for name in names), "all choices in sight", seconds=60)
        page.keyboard.press("m")
        expect(page.get_by_label("more like this")).to_be_checked()


def bottom(page, name):
    """Return how far down a choice reaches; infinity while it is not drawn."""
    box = page.get_by_label(name).bounding_box()
    return math.inf if box is None else box["y"] + box["height"]
