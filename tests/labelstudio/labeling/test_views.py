import pytest

from clinical_backend.errors import LabelingConfigError
from clinical_backend.labelstudio.labeling.scheme import read_scheme
from clinical_backend.study import address_of_images

CLASSES = '<Choices name="diagnosis" toName="image"><Choice value="a"/><Choice value="b"/></Choices>'
LIST = '<Image name="image" valueList="$images"/>'
ONE = '<Image name="image" value="$image"/>'
BREASTS = '<Image name="left" value="$left"/><Image name="image" value="$right"/>'


def scheme_of(*images):
    return read_scheme(f"<View>{''.join(images)}{CLASSES}</View>")


def shown(images, data, limit=32):
    return [(one.position, one.view, one.uri) for one in scheme_of(images).images_of(data, limit)]


@pytest.mark.parametrize("attribute", ["valueList", "valuelist", "value"])
def test_a_list_of_addresses_is_read_in_its_order(attribute):
    image = LIST.replace("valueList", attribute)
    assert shown(image, {"images": ["b.png", " a.png "]}) == [(0, "", "b.png"), (1, "", "a.png")]


def test_several_image_tags_are_views_of_one_task():
    assert shown(BREASTS, {"left": "l.png", "right": "r.png"}) == [(0, "left", "l.png"), (1, "image", "r.png")]
    assert shown(BREASTS, {"right": "r.png"}) == [(0, "image", "r.png")]
    both = BREASTS + '<Image name="slices" valueList="$slices"/>'
    assert [one[:2] for one in shown(both, {"left": "l", "right": "r", "slices": ["1", "2"]})] == [
        (0, "left"),
        (1, "image"),
        (2, "slices"),
        (3, "slices"),
    ]


def test_a_single_image_has_the_address_that_it_always_had():
    for image, data in ((ONE, {"image": "a.png"}), (LIST, {"images": ["a.png"]})):
        assert address_of_images(scheme_of(image).images_of(data, 32)) == "a.png"
    twice = ONE + '<Image name="enlarged" value="$image"/>'
    assert address_of_images(scheme_of(twice).images_of({"image": "a.png"}, 32)) == "a.png"


def test_of_more_images_than_are_read_evenly_spaced_ones_are_the_first_and_the_last_among_them():
    every = [f"{place}.png" for place in range(10_000)]
    images = scheme_of(LIST).images_of({"images": every}, 5)
    assert [one.position for one in images] == [0, 2500, 5000, 7499, 9999]
    assert {one.total for one in images} == {10_000}
    assert [one.position for one in scheme_of(LIST).images_of({"images": every}, 1)] == [5000]


def test_what_is_no_address_in_a_list_stays_and_cannot_be_read_and_what_is_empty_is_left_out_but_keeps_its_place():
    mixed = ["a.png", "", None, {"url": "b.png"}, 7, ["c.png"], "d.png"]
    assert shown(LIST, {"images": mixed}) == [(0, "", "a.png"), (3, "", ""), (4, "", ""), (5, "", ""), (6, "", "d.png")]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"images": []}, "'images' is empty"),
        ({"images": [{"url": "b.png"}, ["a.png"]]}, "holds 2 items, none of which is an address"),
        ({"images": None}, "There is no text in the field 'images'"),
        ({"image": "a.png"}, "There is no text in the field 'images'"),
    ],
)
def test_why_a_task_shows_no_image_is_said(data, problem):
    assert scheme_of(LIST).images_of(data, 32) == ()
    said, cure = scheme_of(LIST).problem_of(data)
    assert problem in said
    assert cure


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (ONE, "Each task shows one image."),
        (LIST, "Each task shows the list of images in 'images'."),
        (BREASTS, "Each task shows the 2 images 'left' and 'image'."),
    ],
)
def test_what_a_task_shows_is_said(images, sentence):
    assert scheme_of(images).shown == sentence


def test_an_image_that_is_the_same_for_all_tasks_is_none_of_theirs():
    legend = '<Image name="legend" value="legend.png"/>'
    assert scheme_of(legend, ONE) == scheme_of(ONE)
    assert shown(legend + ONE, {"image": "a.png"}) == [(0, "", "a.png")]
    with pytest.raises(LabelingConfigError, match="from a field"):
        scheme_of(ONE.replace("image", "other"), legend.replace("legend", "image", 1))


@pytest.mark.parametrize(
    ("image", "data"),
    [
        (ONE, {"image": "a.png"}),
        (LIST, {"images": ["a.png", "b.png"]}),
        ('<Image name="image" value="$case.image"/>', {"case": {"image": "a.png"}}),
    ],
)
def test_a_view_is_filled_so_that_it_finds_what_was_put(image, data):
    (view,) = scheme_of(image).every_view
    assert view.showing(["a.png", "b.png"]) == data
    assert view.addresses(data) == (["a.png", "b.png"] if view.is_list else ["a.png"])


@pytest.mark.parametrize("value", ["https://host/$id", "$images[0]"])
def test_a_view_into_which_nothing_can_be_put_says_so(value):
    (view,) = scheme_of(f'<Image name="image" value="{value}"/>').every_view
    with pytest.raises(LabelingConfigError, match="no import can write"):
        view.showing(["a.png"])
