"""What an archive sends is bounded in bytes and seconds, and who asks shows itself to that archive alone."""

from __future__ import annotations

import gzip
import itertools
import threading

import httpx2
import pytest

from clinical_backend.archive.access import ArchiveAccess
from clinical_backend.archive.exchange import Bounds, Exchange, library_session
from clinical_backend.errors import ArchiveError
from tests.images.servers import reply, serving

TOKEN = "t0ken-of-the-test"
BOUNDS = Bounds(10_000, 60.0)


def asked(handle, bounds=BOUNDS, **options):
    """Return what is made of an answer."""
    with serving(handle) as server, exchange(server, **options) as one:
        return one.get(f"{one.root}/studies?PatientName=Doe", "application/dicom+json", bounds)


def exchange(server, **options):
    access = ArchiveAccess(f"http://127.0.0.1:{server.port}/dicom-web", token=TOKEN)
    return Exchange(access, **{"parallel": 2, "sleep": lambda _: None, **options})


def test_a_good_answer_is_whole():
    answer = asked(lambda request: reply(request, b"[]", **{"Content-Type": "application/dicom+json"}))
    assert (answer.media_type, answer.body.read()) == ("application/dicom+json", b"[]")


@pytest.mark.parametrize(
    "place", ["http://127.0.0.1:{port}/dicom-web", "//127.0.0.1:{port}/x", "/elsewhere", "https://", "::"]
)
def test_no_redirect_is_followed(place):
    with serving(reply) as other:
        where = place.format(port=other.port)
        with pytest.raises(ArchiveError, match="redirects") as error:
            asked(lambda request: reply(request, b"", 302, Location=where))
        assert other.requests == []
    assert "elsewhere" not in str(error.value)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_credentials_do_not_follow_a_redirect(code):
    with serving(reply) as other:
        with pytest.raises(ArchiveError, match=f"127.0.0.1:{other.port}"):
            asked(lambda request: reply(request, b"", code, Location=f"http://127.0.0.1:{other.port}/"))
        assert other.requests == []


def test_another_place_than_the_archive_is_not_asked():
    with serving(reply) as server, serving(reply) as other, exchange(server) as one:
        for url in (f"http://127.0.0.1:{other.port}/dicom-web/studies", f"https://127.0.0.1:{server.port}/dicom-web"):
            with pytest.raises(ArchiveError):
                one.get(url, "*/*", BOUNDS)
        assert other.requests == server.requests == []


def test_a_body_that_is_announced_as_too_large_is_not_read():
    sent = threading.Event()

    def handle(request):
        request.send_response(200)
        request.send_header("Content-Length", str(10**12))
        request.end_headers()
        request.wfile.write(b"x" * 1000)
        sent.set()
        request.server.stopping.wait(30)

    with pytest.raises(ArchiveError, match="more than"):
        asked(handle)
    assert sent.is_set()


def test_a_body_that_has_no_end_ends_at_the_limit():
    counted = itertools.count()

    def handle(request):
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        while not request.server.stopping.is_set():
            next(counted)
            request.wfile.write(b"400\r\n" + b"x" * 0x400 + b"\r\n")

    with pytest.raises(ArchiveError, match="more than"):
        asked(handle)


def test_a_body_shorter_than_announced_is_no_answer():
    def handle(request):
        request.send_response(200)
        request.send_header("Content-Length", "100")
        request.end_headers()
        request.wfile.write(b"x" * 10)
        request.close_connection = True

    with pytest.raises(ArchiveError, match="cannot be reached"):
        asked(handle)


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"])
def test_an_answer_that_drips_ends_with_its_time(head):
    def handle(request):
        request.wfile.write(head)
        while not request.server.stopping.wait(0.02):
            request.wfile.write(b"H")

    with pytest.raises(ArchiveError, match="takes longer than 1 s"):
        asked(handle, Bounds(10_000, 1.0))


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "gzip, gzip", "GZIP"])
def test_what_is_compressed_is_not_unpacked(encoding):
    bomb = gzip.compress(gzip.compress(bytes(10**7)))
    headers = {"Content-Encoding": encoding, "Content-Type": "application/dicom+json"}
    with pytest.raises(ArchiveError, match="compresses"):
        asked(lambda request: reply(request, bomb, **headers))


def test_it_asks_for_nothing_compressed():
    seen = []

    def handle(request):
        seen.append(request.headers["Accept-Encoding"])
        reply(request)

    asked(handle)
    assert seen == ["identity"]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(status):
    statuses = iter([status, status, 200])
    waited = []
    asked(lambda request: reply(request, b"", next(statuses)), sleep=waited.append)
    assert waited == [0.5, 2.0]


def test_the_archive_may_ask_for_a_longer_wait():
    statuses, waited = iter([503, 503, 200]), []
    after = iter(["7", "100000", "0"])
    asked(lambda request: reply(request, b"", next(statuses), **{"Retry-After": next(after)}), sleep=waited.append)
    assert waited == [7.0, 2.0]


def test_a_connection_that_was_closed_meanwhile_is_made_anew():
    numbers = itertools.count()

    def handle(request):
        if next(numbers) == 1:
            request.close_connection = True
            return
        reply(request)

    with serving(handle) as server, exchange(server) as one:
        for _ in range(3):
            assert one.get(f"{one.root}/studies", "*/*", BOUNDS).body.read() == b"pixels"


@pytest.mark.parametrize(
    ("status", "cure"),
    [
        (400, "log"),
        (401, "--token-file"),
        (403, "QIDO-RS"),
        (404, "/dicom-web/"),
        (406, "log"),
        (407, "NO_PROXY"),
        (410, ""),
    ],
)
def test_a_refusal_is_final_and_has_its_cure(status, cure):
    numbers = itertools.count()

    def handle(request):
        next(numbers)
        reply(request, b"Doe^Jane", status)

    with pytest.raises(ArchiveError) as error:
        asked(handle)
    assert next(numbers) == 1
    assert cure in error.value.cure
    assert not any(part in str(error.value) for part in ("Doe", TOKEN, "studies?"))


def test_what_gives_up_does_so_within_the_time():
    waited = []
    with pytest.raises(ArchiveError, match="503"):
        asked(lambda request: reply(request, b"", 503), Bounds(10_000, 1.0), sleep=waited.append)
    assert waited == [0.5]


def test_a_web_page_is_no_answer():
    with pytest.raises(ArchiveError, match="not a DICOMweb root") as error:
        asked(lambda request: reply(request, b"<html>", **{"Content-Type": "text/html; charset=utf-8"}))
    assert "http://host:8042/dicom-web/" in error.value.cure


MANY_HEADERS = b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000


@pytest.mark.parametrize("junk", [b"", b"\0" * 100, b"SSH-2.0-x\r\n", b"HTTP/1.1 999999 x\r\n\r\n", MANY_HEADERS])
def test_what_is_no_http_is_said(junk):
    def handle(request):
        request.wfile.write(junk)
        request.close_connection = True

    with pytest.raises(ArchiveError):
        asked(handle)


def test_nothing_that_listens_is_said():
    with serving(reply) as server:
        pass
    with exchange(server) as one, pytest.raises(ArchiveError, match="nothing listens"):
        one.get(f"{one.root}/studies", "*/*", BOUNDS)


def test_a_netrc_signs_nobody_in(tmp_path, monkeypatch):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login them password theirs\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with serving(reply) as server:
        access = ArchiveAccess(f"http://127.0.0.1:{server.port}/dicom-web")
        with Exchange(access, parallel=1) as one:
            session = library_session(one, BOUNDS)
            assert session.get(f"{one.root}/studies", headers={"Accept": "*/*"}).content == b"pixels"
        assert [token for _, token in server.requests] == [None]


def test_the_archive_is_asked_through_the_proxy_of_the_environment(monkeypatch):
    def handle(request):
        request.server.logins.append(request.headers["Proxy-Authorization"])
        reply(request)

    with serving(handle) as server:
        server.logins = []
        monkeypatch.setenv("http_proxy", f"http://me:mine@127.0.0.1:{server.port}")
        with Exchange(ArchiveAccess("http://archive.invalid/dicom-web"), parallel=1) as one:
            one.get(f"{one.root}/studies", "*/*", BOUNDS)
        assert server.requests == [("http://archive.invalid/dicom-web/studies", None)]
        assert server.logins == [httpx2.BasicAuth("me", "mine")._auth_header]


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "ftp://127.0.0.1:1", "http://[::1"])
def test_a_proxy_that_is_not_spoken_to_is_refused(monkeypatch, proxy):
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(ArchiveError, match="NO_PROXY"):
        Exchange(ArchiveAccess("http://archive.invalid/dicom-web"), parallel=1)


def test_a_root_stays_as_it_was_given():
    with serving(reply) as server:
        with Exchange(ArchiveAccess(f"http://127.0.0.1:{server.port}/a+b%2Fc"), parallel=1) as one:
            session = library_session(one, BOUNDS)
            session.get(f"{one.root}/studies?PatientName=a+b%2Ac", headers={"Accept": "*/*"})
        assert server.requests == [("/a+b%2Fc/studies?PatientName=a%20b*c", None)]


def test_a_proxy_that_leads_nowhere_is_named_without_its_login(monkeypatch):
    with serving(reply) as server:
        port = server.port
    monkeypatch.setenv("http_proxy", f"http://me:mine@127.0.0.1:{port}")
    hidden = Exchange(ArchiveAccess("http://archive.invalid/dicom-web"), parallel=1, sleep=lambda _: None)
    with hidden as one, pytest.raises(ArchiveError, match=f"127.0.0.1:{port}") as error:
        one.get(f"{one.root}/studies", "*/*", BOUNDS)
    assert "mine" not in str(error.value)
