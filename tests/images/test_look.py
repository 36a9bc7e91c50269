"""Whether the bytes at an address changed, told without reading them where the host says."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2
import pytest

from clinical_backend.errors import ImageError
from clinical_backend.images.sources import ImageSource


class Host:
    """Serves one body with the headers that it is told to."""

    def __init__(self):
        self.body, self.headers, self.sent, self.asked = b"first", {}, 0, []


@contextmanager
def serving(host):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            condition = self.headers.get("If-None-Match")
            host.asked.append(condition)
            unchanged = condition is not None and condition == host.headers.get("ETag")
            self.send_response(304 if unchanged else 200)
            for name, value in host.headers.items():
                self.send_header(name, value)
            if not unchanged:
                self.send_header("Content-Length", str(len(host.body)))
            self.end_headers()
            if not unchanged:
                host.sent += 1
                self.wfile.write(host.body)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/image.png"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def host():
    return Host()


@pytest.fixture
def look(host):
    with serving(host) as address, httpx2.Client() as client:
        source = ImageSource("http://label-studio.example", client, allowed_hosts=["127.0.0.1"])
        yield lambda mark=None: source.look(address, 1, mark)
        source.close()


def test_an_etag_saves_the_body_and_a_new_one_brings_it(host, look):
    host.headers = {"ETag": '"one"'}
    first = look()
    assert first.content == b"first"
    assert look(first.mark).content is None
    assert (host.sent, host.asked) == (1, [None, '"one"'])
    host.headers, host.body = {"ETag": '"two"'}, b"other"
    second = look(first.mark)
    assert second.content == b"other"
    assert second.mark != first.mark


@pytest.mark.parametrize("changed", [{"Last-Modified": "Sat, 03 Jan 2026 00:00:00 GMT"}, {}])
def test_a_date_and_a_length_tell_where_there_is_no_etag(host, look, changed):
    host.headers = {"Last-Modified": "Sun, 04 Jan 2026 00:00:00 GMT"}
    first = look()
    assert look(first.mark).content is None
    host.headers |= changed  # an older file, or one of another length
    host.body = b"much longer than before"
    assert look(first.mark).content == host.body


def test_where_the_host_says_nothing_the_bytes_are_read_each_time(host, look):
    assert (look().mark, look(None).content, host.sent) == (None, b"first", 2)


def test_a_local_file_is_read_again_only_when_its_time_or_size_changed(tmp_path):
    (tmp_path / "a.png").write_bytes(b"first")
    with httpx2.Client() as client:
        source = ImageSource("http://label-studio.example", client, local_roots=[tmp_path])
        address = "/data/local-files/?d=a.png"
        first = source.look(address)
        assert (first.content, source.look(address, None, first.mark).content) == (b"first", None)
        os.utime(tmp_path / "a.png", (1, 1))
        again = source.look(address, None, first.mark)
        assert again.content == b"first"
        (tmp_path / "a.png").write_bytes(b"longer")
        os.utime(tmp_path / "a.png", (1, 1))
        assert source.look(address, None, again.mark).content == b"longer"
        source.close()


def test_an_address_that_is_no_text_is_refused_by_name(tmp_path):
    with httpx2.Client() as client, ImageSource("http://ls.example", client, local_roots=[tmp_path]) as source:
        for strange in ("/data/local-files/?d=\ud800.png", "s3://bucket/\ud800\0", "\ud800", "", "http://\ud800/x"):
            with pytest.raises(ImageError, match=r"address|image|cannot be reached|does not"):
                source.fetch(strange, 1)
