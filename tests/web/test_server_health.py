from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from clinical_backend.errors import NotWellError
from clinical_backend.lab.servers.server import free_port
from clinical_backend.settings import load_settings
from clinical_backend.web.server_health import require_server


@pytest.fixture
def answering():
    """Return the port of a server whose status is that of its attribute, and which is no proxy."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(self.server.status if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.status = 200
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_server_that_answers_is_well_whatever_proxy_there_is(monkeypatch, answering, host):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    require_server(load_settings(host=host, port=answering.server_port))


def test_a_server_that_fails_is_not(answering):
    answering.status = 500
    with pytest.raises(NotWellError, match="answers 500"):
        require_server(load_settings(port=answering.server_port))


def test_a_server_that_is_away_is_not():
    with pytest.raises(NotWellError, match="does not answer on 127"):
        require_server(load_settings(host="0.0.0.0", port=free_port()))
