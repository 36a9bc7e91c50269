"""A slow host keeps nobody waiting for long: real servers on loopback, one of which drips."""

import time
from collections import Counter

import httpx2
import pytest

from clinical_backend.errors import ImageLeftError
from clinical_backend.images.patience import LABEL_STUDIO, Patience, host_of
from clinical_backend.images.sources import ImageRequest, ImageSource
from tests.images.servers import reply, serving


def drip(request):
    """Send one byte after the other, until the client has had enough."""
    request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while not request.server.stopping.wait(0.05):
        request.wfile.write(b"x")


@pytest.fixture
def source():
    with httpx2.Client() as http, ImageSource("http://127.0.0.1:9", http, allowed_hosts=["127.0.0.1"]) as made:
        yield made


def requests(*servers, number):
    """Return so many images of each server, one server after the other."""
    every = [f"http://127.0.0.1:{server.port}/{place}" for server in servers for place in range(number)]
    return [ImageRequest(task, uri) for task, uri in enumerate(every)]


def test_the_images_of_a_slow_host_are_left_and_those_of_others_read(source, monkeypatch):
    monkeypatch.setattr(source._transfer, "_time_limit", 2.5)
    with serving(drip) as slow, serving(reply) as fast:
        wanted = requests(slow, fast, number=40)
        found = dict(source.fetch_fairly(wanted, Patience(host_seconds=0.4), workers=4))
        assert set(found) == set(wanted)
        assert [found[request] for request in wanted[40:]] == [b"pixels"] * 40
        assert len(slow.requests) < 10
        left = [request for request in wanted[:40] if isinstance(found[request], ImageLeftError)]
        assert len(left) > 30


def test_what_a_host_takes_too_long_for_is_forgiven_where_most_images_come_soon():
    patience = Patience(host_seconds=60.0)
    patience.spend("host", 100.0, 0)
    assert patience.has_left("host")
    for _ in range(40):
        patience.spend("host", 0.1, 20_000)
    assert not patience.has_left("host")


def test_large_images_over_an_ordinary_line_are_not_slow():
    patience = Patience(host_seconds=60.0)
    for _ in range(1000):
        patience.spend("host", 64.0, 64 * 2**20)
    assert not patience.has_left("host")


def test_after_the_time_for_all_images_what_was_not_read_is_left(source):
    with serving(drip) as slow, serving(reply) as fast:
        wanted = requests(fast, slow, number=5)
        found = dict(source.fetch_fairly(wanted, Patience(seconds=1.0), workers=10))
        kinds = Counter(type(content) for content in found.values())
        assert kinds == {bytes: 5, ImageLeftError: 5}


def test_no_host_takes_all_threads(source):
    waiting = []

    def wait(request):
        waiting.append(request)
        request.server.stopping.wait(60)

    with serving(wait) as slow, serving(reply) as fast:
        found = source.fetch_fairly(requests(slow, fast, number=8), Patience(seconds=3.0), workers=4)
        first = [next(found) for _ in range(8)]
        assert {content for _, content in first} == {b"pixels"}
        assert len(waiting) <= 4
        assert all(isinstance(content, ImageLeftError) for _, content in found)


def test_a_reply_that_cannot_come_in_time_at_its_speed_is_given_up_early(source, monkeypatch):
    monkeypatch.setattr("clinical_backend.images.transfer._JUDGED_AFTER", 0.2)
    with serving(drip) as slow:
        patience = Patience()
        started = time.monotonic()
        ((_, content),) = source.fetch_fairly(requests(slow, number=1), patience)
        assert "too slowly" in str(content)
        assert time.monotonic() - started < 100  # the limit for one image is 120 s


@pytest.mark.parametrize(
    ("uri", "host"),
    [
        ("http://Store.test:9000/a.png", "store.test:9000"),
        ("https://user:secret@store.test/a.png", "store.test"),
        ("s3://bucket/a.png", "s3://bucket"),
        ("/data/upload/1/a.png", LABEL_STUDIO),
        ("data:image/png;base64,AAAA", LABEL_STUDIO),
        ("http://[broken/a.png", LABEL_STUDIO),
        ("", LABEL_STUDIO),
    ],
)
def test_an_image_belongs_to_the_host_that_it_comes_from(uri, host):
    assert host_of(uri) == host


def test_a_page_comes_from_the_host_of_its_file():
    assert host_of("page:3/9:https://host.test/a.tif") == "host.test"
