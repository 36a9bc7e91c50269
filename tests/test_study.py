"""Which images a task has, where files have pages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical_backend.study import StudyImage, file_of, page_in, with_pages, without_pages


def images(*uris, total=None):
    return tuple(StudyImage(place, total or len(uris), "", uri) for place, uri in enumerate(uris))


def test_each_page_of_a_file_is_an_image_with_its_place_among_all():
    shown = with_pages(images("a.png", "b.tif", "c.png"), {"b.tif": 3}, 32)
    assert [(one.position, one.total, one.uri) for one in shown] == [
        (0, 5, "a.png"),
        (1, 5, "page:0/3:b.tif"),
        (2, 5, "page:1/3:b.tif"),
        (3, 5, "page:2/3:b.tif"),
        (4, 5, "c.png"),
    ]


def test_of_many_pages_evenly_spaced_ones_are_images_and_files_share_what_a_task_may_have():
    alone = with_pages(images("a.dcm"), {"a.dcm": 101}, 5)
    assert [(one.position, one.total) for one in alone] == [(0, 101), (25, 101), (50, 101), (75, 101), (100, 101)]
    both = with_pages(images("a.dcm", "b.dcm"), {"a.dcm": 101, "b.dcm": 3}, 5)
    assert [(one.position, page_in(one.uri)) for one in both] == [
        (0, ("a.dcm", 0, 101)),
        (100, ("a.dcm", 100, 101)),
        (101, ("b.dcm", 0, 3)),
        (103, ("b.dcm", 2, 3)),
    ]


@pytest.mark.parametrize(("pages", "limit"), [({}, 32), ({"a.tif": 1}, 32), ({"a.tif": 9}, 1), ({"a.tif": 9}, 3)])
def test_without_several_pages_or_room_for_two_of_each_file_a_file_is_one_image(pages, limit):
    assert with_pages(images("a.tif", "b.tif"), pages, limit) == images("a.tif", "b.tif")


@given(st.lists(st.integers(1, 300), min_size=1, max_size=12), st.integers(1, 64), st.integers(0, 3))
def test_the_files_and_their_pages_are_known_from_the_images(counts, limit, more):
    names = [f"https://host/{number}:a.tif" for number in range(len(counts))]
    files = images(*names, total=len(names) + more)
    pages = {name: count for name, count in zip(names, counts, strict=True) if count > 1}
    shown = with_pages(files, pages, limit)
    assert len(shown) <= max(limit, len(files))
    assert list(dict.fromkeys(file_of(one.uri) for one in shown)) == names
    assert [one.position for one in shown] == sorted({one.position for one in shown})
    if len(shown) > len(files):
        assert without_pages(shown) == (files, pages)


def test_what_only_looks_like_a_page_is_an_address():
    for address in ("page:1:a.tif", "https://host/page:0/3:a.tif", "page:-1/3:a", ""):
        assert page_in(address) is None
        assert file_of(address) == address
