"""A stub of a backend that records what Label Studio sends, and more connections."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from clinical_backend.lab.servers.label_studio_admin import LabelStudioAdmin
from clinical_backend.lab.servers.label_studio_server import LabelStudioServer
from tests.conftest import CACHE

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Call:
    """One request that Label Studio sent."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class StubBackend:
    """A backend that answers as one should, and keeps what it is sent."""

    model_version: str = "published"
    basic_auth: tuple[str, str] | None = None
    calls: list[Call] = field(default_factory=list)
    refused: list[Call] = field(default_factory=list)
    url: str = ""

    @property
    def paths(self) -> set[str]:
        return {call.path for call in self.calls}

    @property
    def events(self) -> list[str]:
        return [call.body["action"] for call in self.calls if call.path == "/webhook"]

    def last(self, path: str) -> Call:
        return [call for call in self.calls if call.path == path][-1]

    def reply(self, call: Call) -> object:
        if call.path == "/setup":
            return {"model_version": self.model_version}
        if call.path == "/predict":
            item = {"result": [], "score": 0.9, "model_version": self.model_version}
            return {"results": [item for _ in call.body["tasks"]]}
        if call.path == "/versions":
            return {"versions": [self.model_version]}
        return {"status": "UP"}

    def accepts(self, call: Call) -> bool:
        if self.basic_auth is None:
            return True
        wanted = base64.b64encode(":".join(self.basic_auth).encode()).decode()
        return call.headers.get("Authorization") == f"Basic {wanted}"


@pytest.fixture
def stub_backend() -> Iterator[StubBackend]:
    """Return a running stub of a backend."""
    with running_stub() as stub:
        yield stub


@contextlib.contextmanager
def running_stub() -> Iterator[StubBackend]:
    """Run a stub of a backend."""
    stub = StubBackend()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            self.answer()

        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            call = Call(self.command, self.path, dict(self.headers), body)
            accepted = stub.accepts(call)
            (stub.calls if accepted else stub.refused).append(call)
            content = json.dumps(stub.reply(call) if accepted else {}).encode()
            self.send_response(200 if accepted else 401)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    stub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="session")
def half_open_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelStudioAdmin]:
    """Return a connection to a Label Studio with only one of the two settings that loopback backends need.

    It imports predictions the memory-efficient way, which other servers may do too.
    """
    with (
        LabelStudioServer(
            tmp_path_factory.mktemp("half-open"),
            cache=CACHE,
            backends_on_loopback=False,
            fast_imports=True,
            environment={"LABEL_STUDIO_ML_BLOCK_LOCAL_IP": "false"},
        ) as server,
        LabelStudioAdmin(server.url, server.account.token) as connection,
    ):
        yield connection


@pytest.fixture(scope="session")
def personal_client(label_studio: LabelStudioServer, personal_access_token: str) -> Iterator[LabelStudioAdmin]:
    """Return the administrator's connection with the personal access token."""
    with LabelStudioAdmin(label_studio.url, personal_access_token) as connection:
        yield connection
