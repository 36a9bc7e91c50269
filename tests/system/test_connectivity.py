"""Why a server is not reached: named by its cause, for Label Studio and for hosts of images alike."""

from __future__ import annotations

import contextlib
import re
import socket

import httpx2
import pytest

from clinical_backend.errors import (
    ImageError,
    LabelStudioRefusedError,
    LabelStudioUnauthorizedError,
    LabelStudioUnavailableError,
)
from clinical_backend.images.sources import ImageSource
from clinical_backend.labelstudio.session import Session
from clinical_backend.system.connectivity import CertificateFileError, proxy_of
from tests.images.servers import reply, serving
from tests.tls import certificate, serving_tls

TOKEN = "0123456789abcdef0123456789abcdef01234567"
PERSONAL = "eyJhbGciOiJIUzI1NiJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCJ9.c2lnbmF0dXJl"
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Take away what the machine's own environment says of proxies and certificates."""
    for name in (*PROXIES, "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return monkeypatch


def ask_label_studio(url, time_out=5.0):
    with Session(url, TOKEN, time_out=time_out, sleep=lambda _: None) as session:
        return session.request("GET", "api/version/")


def ask_image(url, time_out=5.0):
    with (
        httpx2.Client(transport=httpx2.MockTransport(lambda _: httpx2.Response(200))) as client,
        ImageSource(
            "http://labels.example", client, allowed_hosts=["127.0.0.1"], time_out=time_out, backoff=0.0
        ) as source,
    ):
        return source.fetch(f"{url}/image.png")


BOTH = pytest.mark.parametrize("ask", [ask_label_studio, ask_image], ids=["Label Studio", "image"])


def json(request):
    reply(request, b"{}", **{"Content-Type": "application/json"})


@contextlib.contextmanager
def silent():
    """Listen, and answer nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(8)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@contextlib.contextmanager
def plain(scheme="http"):
    with serving(json) as server:
        yield f"{scheme}://127.0.0.1:{server.port}"


@contextlib.contextmanager
def http_to_tls(pem):
    with serving_tls(json, pem) as url:
        yield url.replace("https", "http")


def refusal_of(ask, url, **options):
    with pytest.raises((LabelStudioUnavailableError, ImageError)) as refusal:
        ask(url, **options)
    return str(refusal.value)


@BOTH
@pytest.mark.parametrize(
    ("made", "trusted", "told"),
    [
        ({}, False, "of no authority that is trusted here. .*SSL_CERT_FILE"),
        ({"days": (-9, -1)}, True, "certificate has expired"),
        ({"days": (2, 9)}, True, "not valid yet"),
        ({"host": "127.0.0.2"}, True, "not for 127.0.0.1"),
    ],
    ids=["unknown authority", "expired", "of tomorrow", "another name"],
)
def test_a_bad_certificate_is_named_by_what_is_wrong_with_it(ask, made, trusted, told, tmp_path, environment):
    pem = certificate(tmp_path, **made)
    if trusted:
        environment.setenv("SSL_CERT_FILE", str(pem))
    with serving_tls(json, pem) as url:
        message = refusal_of(ask, url)
    assert_matches(message, told)


def assert_matches(message, pattern):
    assert re.search(pattern, message), message
    assert TOKEN not in message
    assert "/image.png" not in message


@BOTH
def test_a_certificate_of_an_authority_that_is_named_is_trusted(ask, tmp_path, environment):
    pem = certificate(tmp_path)
    environment.setenv("SSL_CERT_FILE", str(pem))
    with serving_tls(json, pem) as url:
        assert ask(url) in ({}, b"{}")


@BOTH
@pytest.mark.parametrize(
    "content", [None, "", "-----BEGIN CERTIFICATE-----\nbroken\n"], ids=["none", "empty", "broken"]
)
def test_a_file_of_authorities_that_cannot_be_read_is_named(ask, content, tmp_path, environment):
    path = tmp_path / "authorities.pem"
    if content is not None:
        path.write_text(content)
    environment.setenv("SSL_CERT_FILE", str(path))
    with pytest.raises(CertificateFileError, match=r"SSL_CERT_FILE.*authorities\.pem"):
        ask("https://127.0.0.1:9")


@BOTH
@pytest.mark.parametrize(
    ("server", "told"),
    [
        (lambda pem: plain("https"), "does not speak TLS at this port. Write http:// instead of https://"),
        (http_to_tls, "If it speaks TLS at this port, write https://"),
        (lambda pem: contextlib.nullcontext("http://127.0.0.1:9"), "nothing listens there .connection refused."),
        (lambda pem: silent(), "takes too long to answer"),
    ],
    ids=["TLS to plain", "plain to TLS", "refused", "time-out"],
)
def test_a_connection_that_fails_is_named_by_its_cause(ask, server, told, tmp_path):
    with server(certificate(tmp_path)) as url:
        assert_matches(refusal_of(ask, url, time_out=0.5), told)


@BOTH
def test_a_name_that_nobody_knows_is_named(ask):
    assert_matches(
        refusal_of(ask, "http://nowhere.invalid"), "nowhere.invalid is not known|name server does not answer"
    )


@pytest.mark.parametrize(
    ("variable", "proxy", "told"),
    [
        (
            "HTTP_PROXY",
            "http://user:secret@127.0.0.1:9",
            r"proxy 127\.0\.0\.1:9 does not lead there.*refused.*NO_PROXY",
        ),
        ("HTTP_PROXY", "http://proxy.invalid:3128", r"proxy proxy\.invalid:3128 does not lead there"),
        ("HTTPS_PROXY", None, r"does not lead there \(501.*HTTPS_PROXY"),
    ],
    ids=["not there", "unknown name", "refuses"],
)
def test_a_proxy_is_named_where_it_is_in_the_way(variable, proxy, told, environment):
    with plain() as url:
        environment.setenv(variable, proxy or url)
        message = refusal_of(ask_label_studio, f"{variable.partition('_')[0].lower()}://labels.example")
    assert_matches(message, told)
    assert "secret" not in message


def test_no_proxy_is_blamed_where_none_is_used(environment):
    environment.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    environment.setenv("NO_PROXY", "127.0.0.1")
    assert proxy_of(httpx2.URL("http://127.0.0.1:8080")) is None
    with plain() as url:
        assert ask_label_studio(url) == {}
    environment.delenv("NO_PROXY")
    message = refusal_of(ask_image, "http://127.0.0.1:9")
    assert_matches(message, r"not fetched through the proxy 127\.0\.0\.1:9")


def page(status=200, **headers):
    fields = {"Content-Type": "text/html"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda request: reply(request, b"<!doctype html><title>x</title>", status, **fields)


def moved(request):
    page(301, Location=f"/labels{request.path}")(request)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (page(), r"is a web page \(status 200\).*sub-path"),
        (page(404), r"is a web page \(status 404\).*sub-path"),
        (page(403), r"refuses with a web page \(status 403\).*firewall"),
        (
            page(302, Location="https://sso.example/login?next=secret"),
            r"redirects to https://sso\.example/login, perhaps to sign in",
        ),
        (
            page(301, Location="https://127.0.0.1/api/version/"),
            r"redirects to https.*Write https:// in LABEL_STUDIO_URL",
        ),
        (moved, r"Set LABEL_STUDIO_URL to http://127\.0\.0\.1:\d+/labels with"),
        (page(401, WWW_Authenticate='Basic realm="ward"'), r"asks for a password \(Basic\)"),
    ],
    ids=["page", "no sub-path", "firewall", "sign-in", "to https", "to the sub-path", "password"],
)
@pytest.mark.parametrize("token", [TOKEN, PERSONAL], ids=["legacy", "personal"])
def test_what_stands_before_label_studio_is_not_taken_for_it(answer, told, token):
    with serving(answer) as server, Session(f"http://127.0.0.1:{server.port}", token) as session:
        with pytest.raises(LabelStudioRefusedError) as refusal:
            session.request("GET", "api/version/")
        assert_matches(str(refusal.value), told)
        assert "secret" not in str(refusal.value)


def test_a_proxy_that_wants_a_login_is_told_from_label_studio(environment):
    with serving(page(407, Proxy_Authenticate="Basic")) as server:
        environment.setenv("HTTP_PROXY", f"http://127.0.0.1:{server.port}")
        with pytest.raises(
            LabelStudioRefusedError, match=rf"the proxy 127\.0\.0\.1:{server.port}, which wants a login"
        ):
            ask_label_studio("http://labels.example")


def test_label_studios_own_refusal_of_a_token_stays_one():
    def refuse(request):
        reply(request, b'{"detail": "Invalid token."}', 401, **{"WWW-Authenticate": 'Token realm="api"'})

    with serving(refuse) as server, pytest.raises(LabelStudioUnauthorizedError, match="token"):
        ask_label_studio(f"http://127.0.0.1:{server.port}")
