"""Where the address of an image stands in a task's data, as Label Studio's page resolves it."""

from __future__ import annotations

import pytest

from clinical_backend.labelstudio.labeling.fields import ImageValue, lookup

DATA = {
    "image": "a.png",
    "case": {"image": "b.png", "id": 7, "tags": ["x"]},
    "images": ["c.png", {"url": "d.png"}],
    "one": ["e.png"],
    "case.image": None,
    "scan.url": "f.png",
    "scan": {"url": "g.png"},
    "empty": "",
}


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("$image", "a.png"),
        ("$case.tags[0]", "x"),
        ("$images[0]", "c.png"),
        ("$images.0", "c.png"),
        ("$images[1].url", "d.png"),
        ("$one", "e.png"),
        ("$scan.url", "f.png"),  # a field of that very name comes first
        ("$case.image", ""),  # and hides what lies deeper, as in the page
        ("$images", ""),
        ("$images[2]", ""),
        ("$images[-1]", ""),
        ("$image[0]", ""),
        ("$case", ""),
        ("$case.id", ""),
        ("$nothing.deeper", ""),
        ("$empty", ""),
        ("https://host/$image", "https://host/a.png"),
        ("/data/local-files/?d=$case.id/$image", "/data/local-files/?d=7/a.png"),
        ("https://host/$images", ""),
        ("https://host/$nothing", ""),
        ("https://host/$image.png", ""),  # the page takes .png for a part of the field's name
        ("$image-url", "a.png-url"),
    ],
)
def test_an_address_is_resolved_as_the_page_resolves_it(value, address):
    assert ImageValue(value).address(DATA) == address


@pytest.mark.parametrize(
    ("value", "data", "problem", "cure"),
    [
        ("$scan", {"image": "a"}, "no text in the field 'scan'", "the task has the fields 'image'"),
        ("https://host/$images", {"images": ["a", "b"]}, "holds a list of 2, with text around", "valueList"),
        ("$image-url", {"image-url": "a"}, "no text in the field 'image'", "rename the field 'image-url'"),
        ("$a/$b", {"a": "x"}, "no text in the field 'b'", "Import tasks with it"),
        ("$a", {"a": 5}, "no text in the field 'a'", "Import tasks with it"),
    ],
)
def test_why_there_is_no_address_is_said(value, data, problem, cure):
    found = ImageValue(value).problem(data)
    assert problem in found[0]
    assert cure in found[1]


def test_a_path_that_names_nothing_finds_nothing():
    assert [lookup(DATA, path) for path in ("", ".", "[]", "case.image.x", "image.x", "x")] == [None] * 6
