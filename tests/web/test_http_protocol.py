"""Callers that keep the server waiting, on real sockets with short limits."""

import contextlib
import socket
import time

import pytest
from fastapi import FastAPI, Request

from clinical_backend.web.http_protocol import TimelyProtocol
from clinical_backend.web.security import BodyLimits
from tests.web.test_security import ask, running


class Hurried(TimelyProtocol):
    head_seconds = 0.5
    body_seconds = 0.5
    reading_seconds = 0.5


class Narrow(TimelyProtocol):
    """Waits long, so that only a want of room ends a connection."""

    most = 10


def make_app():
    app = FastAPI()
    gone = app.state.gone = []

    @app.get("/health")
    async def health() -> str:
        return "UP"

    @app.get("/large")
    async def large() -> str:
        return "x" * 20_000_000

    @app.post("/")
    async def body(request: Request) -> int:
        try:
            return len(await request.body())
        except Exception:
            gone.append(time.monotonic())
            raise

    @app.post("/unread")
    async def unread() -> str:
        return "no body is read"

    app.add_middleware(BodyLimits)
    return app


@pytest.fixture(scope="module")
def hurried():
    with running(make_app(), http=Hurried) as address:
        yield address


@pytest.fixture
def narrow():
    with running(make_app(), http=Narrow) as address:
        yield address


POST = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


def dripped(address, first, drop, *, most=30.0):
    """Send bytes, and then one by one, until the server ends the connection; return what it said."""
    said = b""
    with socket.create_connection(address, 20) as connection:
        connection.settimeout(0.05)
        connection.sendall(first)
        deadline = time.monotonic() + most
        while time.monotonic() < deadline:
            try:
                connection.sendall(drop)
                part = connection.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                return said
            if not part:
                return said
            said += part
    raise AssertionError("The server waits on.")


@pytest.mark.parametrize("first", [b"", b"GET", GET[:-2]], ids=["nothing", "in the first line", "in the headers"])
@pytest.mark.parametrize("drop", [b"", b"X: y\r\n"], ids=["silent", "dripping"])
def test_a_request_whose_head_does_not_end_is_cut_off(hurried, first, drop):
    if first == b"GET":
        drop = drop and b"x"
    assert b"200" not in dripped(hurried, first, drop)


@pytest.mark.parametrize("drop", [b"", b"x"], ids=["silent", "dripping"])
def test_a_body_that_does_not_end_is_refused_as_too_slow(hurried, drop):
    said = dripped(hurried, POST, drop)
    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"within 0.5 seconds" in said


def test_a_body_in_chunks_that_does_not_end_is_refused_too(hurried):
    head = POST.replace(b"Content-Length: 1000", b"Transfer-Encoding: chunked")
    assert dripped(hurried, head, b"1\r\nx\r\n").startswith(b"HTTP/1.1 408 ")


def test_a_body_that_nobody_reads_is_cut_off_too(hurried):
    said = dripped(hurried, POST.replace(b"POST / ", b"POST /unread "), b"x")
    assert said.startswith(b"HTTP/1.1 200 ")


def test_the_second_request_of_a_connection_has_the_same_limits(hurried):
    assert dripped(hurried, GET + b"GET", b"x").count(b"HTTP/1.1 200") == 1
    assert b"HTTP/1.1 408 " in dripped(hurried, GET + POST, b"x")


def test_a_connection_that_is_idle_between_requests_is_kept(hurried):
    with socket.create_connection(hurried, 20) as connection:
        for request, answer in [(GET, b'"UP"'), (GET, b'"UP"'), (POST + b"x" * 1000, b"1000")]:
            connection.sendall(request)
            said = b""
            while not said.endswith(answer):
                part = connection.recv(1000)
                assert part
                said += part
            time.sleep(3 * Hurried.head_seconds)


def test_an_answer_that_is_not_taken_in_is_given_up(hurried):
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(20)
        connection.connect(hurried)
        connection.sendall(GET.replace(b"/health", b"/large"))
        time.sleep(4 * Hurried.reading_seconds)
        received = 0
        with contextlib.suppress(ConnectionResetError):
            while part := connection.recv(65536):
                received += len(part)
    assert received < 20_000_000


@pytest.mark.parametrize("begun", [b"", GET[:-2], POST, GET], ids=["silent", "head", "body", "idle"])
def test_those_who_keep_the_server_waiting_make_room_for_those_who_do_not(narrow, begun):
    with contextlib.ExitStack() as held:
        for _ in range(3 * Narrow.most):
            connection = held.enter_context(socket.create_connection(narrow, 20))
            connection.sendall(begun)
        assert ask(narrow, GET) == 200
        assert ask(narrow, POST + b"x" * 1000) == 200


def test_large_bodies_under_way_keep_no_small_one_out():
    app = FastAPI()

    @app.post("/")
    async def body(request: Request) -> int:
        return len(await request.body())

    app.add_middleware(BodyLimits, each=51_200, together=60_000)
    large = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50000\r\n\r\n"
    small = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n" + b"x" * 100
    with running(app, http=TimelyProtocol) as address, socket.create_connection(address, 20) as held:
        held.sendall(large + b"x" * 49_999)
        statuses = (ask(address, large + b"x" * 50_000) for _ in range(200))
        assert 429 in statuses  # once all of the first has come in
        assert ask(address, small) == 200
        held.sendall(b"x")
        with held.makefile("rb") as answer:
            assert b"200" in answer.readline()
