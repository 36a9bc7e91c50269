"""Who may call, and how much a call may bring: on a real server where the wire matters."""

import base64
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from clinical_backend.settings import load_settings
from clinical_backend.web.app import make_app
from clinical_backend.web.security import BasicAuthentication, BodyLimits
from tests.web.noting_runner import Wakes
from tests.web.test_backend_api import CONFIG

USER, PASSWORD = "reader", "pässword"


def basic(text, encoding="utf-8"):
    return b"Basic " + base64.b64encode(text.encode(encoding))


@contextlib.contextmanager
def running(app, **options):
    """Run an application behind a real server; give the address of its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="critical", lifespan="on", timeout_graceful_shutdown=1, **options)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield listening.getsockname()
        finally:
            server.should_exit = True
            thread.join()


def ask(address, *parts):
    """Send bytes as they are, and return the status of the answer."""
    with socket.create_connection(address, 20) as connection:
        with contextlib.suppress(OSError):  # it may answer before all is sent
            for part in parts:
                connection.sendall(part)
        with connection.makefile("rb") as answer:
            return int(answer.readline().split()[1])


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    settings = load_settings(
        model_dir=tmp_path_factory.mktemp("guarded"),
        basic_auth_user=USER,
        basic_auth_pass=PASSWORD,
        label_studio_api_key="k",
    )
    with running(make_app(settings, Wakes())) as address:
        yield address


WRONG = [
    b"",
    b"Basic",
    b"Basic ",
    b"Basic !!!",
    b"Basic \xff\xfe\xc3",
    b"Basic " + "pässword".encode(),
    basic("reader:wrong"),
    basic("reader"),
    basic(":pässword"),
    basic("reader:"),
    basic("Reader:pässword"),
    basic("reader:pässword "),
    basic("reader:password"),
    basic("reader:pässword") + b"=",
    basic("reader:pässword").replace(b"Basic ", b""),
    basic("reader:pässword").replace(b"Basic", b"Bearer"),
    basic("reader:pässword").replace(b"Basic ", b"Basic,"),
    basic("reader:pässword").replace(b"Basic", b"Digest username="),
    b"Bearer abc",
    b"Token abc",
    b"Basic " + b"A" * 20_000,
    basic("reader:pässword") + b"A" * 4096,
    basic("reader:pässword\0"),
]


@pytest.mark.parametrize("credentials", [None, *WRONG], ids=lambda value: repr(value)[:40])
@pytest.mark.parametrize(
    "path", ["GET /versions", "POST /predict", "POST /nowhere", "GET /openapi.json", "GET /health/", "GET //health"]
)
def test_whatever_is_not_exactly_right_is_401(guarded, path, credentials):
    head = b"" if credentials is None else b"Authorization: " + credentials + b"\r\n"
    assert ask(guarded, path.encode() + b" HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n" + head + b"\r\n") == 401


@pytest.mark.parametrize("credentials", [basic("reader:pässword"), basic("reader:pässword", "latin-1")])
@pytest.mark.parametrize("scheme", [b"Basic", b"basic", b"BASIC"])
def test_the_right_credentials_pass_in_either_encoding(guarded, credentials, scheme):
    head = b"Authorization: " + credentials.replace(b"Basic", scheme)
    assert ask(guarded, b"GET /versions HTTP/1.1\r\nHost: localhost\r\n" + head + b"\r\n\r\n") == 200


def test_liveness_is_open(guarded):
    assert ask(guarded, b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n") == 200


def test_the_body_of_a_stranger_is_not_read():
    read = []

    async def app(scope, receive, send):
        read.append(await receive())

    client = TestClient(BasicAuthentication(app, (USER, PASSWORD)))
    assert client.post("/predict", content=b"x" * 1000).status_code == 401
    assert read == []


@pytest.fixture(scope="module")
def small():
    app = FastAPI()

    @app.post("/")
    async def echo(request: Request) -> int:
        return len(await request.body())

    @app.post("/parsed")
    def parsed(body: dict[str, str]) -> int:
        return len(body)

    app.add_middleware(BodyLimits, each=1000, together=1500)
    with running(app) as address:
        yield address


@pytest.mark.parametrize("path", [b"/", b"/parsed"])
def test_a_body_over_the_limit_is_413_announced_or_in_chunks(small, path):
    post = b"POST " + path + b" HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    chunk = b"1f4\r\n" + b" " * 500 + b"\r\n"
    assert ask(small, post + b"Content-Length: 1001\r\n\r\n") == 413
    assert ask(small, post + b"Content-Length: 99999999999999999999\r\n\r\n") == 413
    assert ask(small, post + b"Transfer-Encoding: chunked\r\n\r\n", chunk, chunk, chunk) == 413


def test_a_body_within_the_limit_passes(small):
    post = b"POST / HTTP/1.1\r\nHost: a\r\n"
    assert ask(small, post + b"Content-Length: 1000\r\n\r\n" + b"x" * 1000) == 200
    assert ask(small, post + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n") == 200


def test_too_much_at_a_time_is_429_until_it_is_answered(small):
    post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n"
    with socket.create_connection(small, 20) as slow:
        slow.sendall(post + b"x" * 999)
        statuses = {ask(small, post + b"x" * 1000) for _ in range(200)}  # until the first 999 bytes have come in
        assert 429 in statuses
        slow.sendall(b"x")
        with slow.makefile("rb") as answer:
            assert b"200" in answer.readline()
    assert ask(small, post + b"x" * 1000) == 200


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"tasks":' * 50_000, b'{"tasks": [' + b"1" * 10_000 + b"]}"])
def test_json_that_is_made_to_hurt_is_refused(tmp_path, body):
    settings = load_settings(model_dir=tmp_path, label_studio_api_key="k")
    with TestClient(make_app(settings, Wakes())) as api:
        answer = api.post("/predict", content=body, headers={"Content-Type": "application/json"})
    assert 400 <= answer.status_code < 500


def test_more_tasks_than_a_call_may_bring_are_413(tmp_path):
    settings = load_settings(model_dir=tmp_path, label_studio_api_key="k")
    with TestClient(make_app(settings, Wakes())) as api:
        answer = api.post("/predict", json={"tasks": [{}] * 100_001, "project": 1})
    assert answer.status_code == 413
    assert "100000 tasks" in answer.json()["detail"]


MANY = """
import json, resource, sys
from fastapi.testclient import TestClient
from clinical_backend.settings import load_settings
from clinical_backend.web.app import make_app
from tests.web.noting_runner import Wakes

body = sys.stdin.buffer.read()
with TestClient(make_app(load_settings(model_dir=sys.argv[1], label_studio_api_key="k"), Wakes())) as api:
    api.post("/predict", json={"tasks": [], "project": 1})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer = api.post("/predict", content=body, headers={"Content-Type": "application/json"})
    count = len(answer.json()["results"])
    print(json.dumps([answer.status_code, count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before]))
"""


@pytest.mark.slow
def test_a_prediction_of_100000_tasks_takes_bounded_memory(tmp_path):
    tasks = [{"id": n + 1, "data": {"image": f"/data/upload/1/{n}.png"}, "meta": {}} for n in range(100_000)]
    body = json.dumps({"tasks": tasks, "project": "1.1", "label_config": CONFIG}).encode()
    done = subprocess.run(
        [sys.executable, "-c", MANY, str(tmp_path)],
        input=body,
        capture_output=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(Path.cwd())},
    )
    status, count, kilobytes = json.loads(done.stdout.splitlines()[-1])
    assert (status, count) == (200, 100_000)
    assert kilobytes < 600 * 1024, f"{kilobytes // 1024} MiB for {len(body) // 2**20} MiB"
