"""Tokens: which is sent where, and when a new one is asked for."""

from __future__ import annotations

import base64
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from clinical_backend.errors import LabelStudioRefusedError, LabelStudioUnauthorizedError, LabelStudioUnavailableError
from clinical_backend.labelstudio.authentication import (
    TokenAuthentication,
    basic_authorization,
    kind_of_token,
)

LEGACY = "0123456789abcdef0123456789abcdef01234567"
PERSONAL = "eyJhbGciOiJIUzI1NiJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCJ9.c2lnbmF0dXJl"
ROOT = "https://labels.example/sub"


def access_token(number, seconds=300):
    claims = base64.urlsafe_b64encode(json.dumps({"iat": 1000, "exp": 1000 + seconds, "n": number}).encode())
    return f"ey.{claims.decode().rstrip('=')}.s"


class Server:
    """Issues access tokens and accepts the last one."""

    def __init__(self, refresh_status=200):
        self.refreshed = 0
        self.requests = []
        self.refresh_status = refresh_status
        self.revoked = False
        self._lock = threading.Lock()

    def __call__(self, request):
        with self._lock:
            self.requests.append(request)
            if request.url.path.endswith("/api/token/refresh/"):
                assert json.loads(request.content) == {"refresh": PERSONAL}
                assert "Authorization" not in request.headers
                self.refreshed += 1
                self.revoked = False
                return httpx2.Response(self.refresh_status, json={"access": access_token(self.refreshed)})
            accepted = request.headers.get("Authorization") == f"Bearer {access_token(self.refreshed)}"
            return httpx2.Response(200 if accepted and not self.revoked else 401)


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def connection(server, token=PERSONAL, clock=None, root=ROOT):
    authentication = TokenAuthentication(httpx2.URL(root), token, clock=clock or Clock())
    return httpx2.Client(base_url=root, auth=authentication, transport=httpx2.MockTransport(server))


def test_kinds_of_tokens_are_told_apart():
    assert kind_of_token(LEGACY) == "legacy"
    assert kind_of_token(PERSONAL) == "personal"


def test_a_legacy_token_is_sent_as_it_is():
    server = Server()
    with connection(server, f" {LEGACY}\n") as http:
        http.get("api/projects/")
    assert [request.headers["Authorization"] for request in server.requests] == [f"Token {LEGACY}"]


def test_a_personal_token_is_exchanged_once_below_the_sub_path():
    server = Server()
    with connection(server) as http:
        assert [http.get("api/projects/").status_code for _ in range(3)] == [200, 200, 200]
    assert server.refreshed == 1
    assert server.requests[0].url == f"{ROOT}/api/token/refresh/"


def test_an_access_token_is_renewed_before_it_expires():
    server, clock = Server(), Clock()
    with connection(server, clock=clock) as http:
        http.get("x")
        clock.now = 269.0
        http.get("x")
        assert server.refreshed == 1
        clock.now = 271.0
        assert http.get("x").status_code == 200
    assert server.refreshed == 2


def test_an_access_token_that_is_refused_is_renewed_once():
    server = Server()
    with connection(server) as http:
        http.get("x")
        server.revoked = True
        assert http.get("x").status_code == 200
    assert server.refreshed == 2


def test_a_request_that_is_refused_with_a_new_token_too_stays_refused():
    server = Server()
    with connection(lambda request: server(request) if "refresh" in request.url.path else httpx2.Response(401)) as http:
        assert http.get("x").status_code == 401
    assert server.refreshed == 2


def test_threads_share_one_access_token():
    server = Server()
    with connection(server) as http, ThreadPoolExecutor(8) as threads:
        statuses = [reply.status_code for reply in threads.map(lambda _: http.get("x"), range(40))]
    assert statuses == [200] * 40
    assert server.refreshed == 1


@pytest.mark.parametrize("token", [LEGACY, PERSONAL])
@pytest.mark.parametrize(
    "url",
    [
        "https://elsewhere.example/sub/api",
        "http://labels.example/sub/api",
        "https://labels.example:8443/sub/api",
        "https://labels.example.evil.example/sub",
    ],
)
def test_the_token_goes_to_no_other_host_scheme_or_port(token, url):
    server = Server()
    with connection(server, token) as http:
        http.get(url)
    [request] = server.requests
    assert "Authorization" not in request.headers


@pytest.mark.parametrize("token", [LEGACY, PERSONAL])
def test_the_token_does_not_follow_a_redirect_to_another_host(token):
    server = Server()

    def redirecting(request):
        if request.url.path == "/sub/away":
            return httpx2.Response(302, headers={"Location": "https://elsewhere.example/"})
        return server(request)

    with connection(redirecting, token) as http:
        http.get("away", follow_redirects=True)
    assert server.requests[-1].url.host == "elsewhere.example"
    assert "Authorization" not in server.requests[-1].headers


def test_the_default_port_may_be_written_out():
    server = Server()
    with connection(server, LEGACY) as http:
        http.get("https://labels.example:443/x")
    assert "Authorization" in server.requests[0].headers


@pytest.mark.parametrize("token", ["", "  ", "two words", "line\nbreak", "ünicode"])
def test_what_cannot_be_a_token_is_refused_at_once(token):
    with pytest.raises(LabelStudioUnauthorizedError, match="not a token"):
        TokenAuthentication(httpx2.URL(ROOT), token)


def test_a_personal_token_that_is_refused_says_so_without_the_token():
    with (
        connection(Server(refresh_status=401)) as http,
        pytest.raises(LabelStudioUnauthorizedError) as refusal,
    ):
        http.get("x")
    assert PERSONAL not in str(refusal.value)


def test_a_page_that_is_not_found_at_the_exchange_may_be_a_release_without_personal_tokens():
    def page(request):
        return httpx2.Response(404, html="<!DOCTYPE html>")

    with connection(page) as http, pytest.raises(LabelStudioRefusedError, match="404") as refusal:
        http.get("x")
    assert "LABEL_STUDIO_URL" in refusal.value.cure
    assert "before 1.17 has no personal access tokens" in refusal.value.cure


def test_a_server_error_at_the_exchange_is_no_wrong_token():
    with connection(Server(refresh_status=503)) as http, pytest.raises(LabelStudioUnavailableError):
        http.get("x")


def test_an_exchange_that_fails_does_not_block_the_next_one():
    server = Server(refresh_status=503)
    with connection(server) as http:
        with pytest.raises(LabelStudioUnavailableError):
            http.get("x")
        server.refresh_status = 200
        assert http.get("x").status_code == 200


def test_an_answer_that_is_no_token_is_refused():
    def page(request):
        return httpx2.Response(200, text="no token")

    with connection(page) as http, pytest.raises(LabelStudioUnauthorizedError):
        http.get("x")


def test_basic_authorization_is_that_of_the_standard():
    assert basic_authorization("Aladdin", "open sesame") == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
