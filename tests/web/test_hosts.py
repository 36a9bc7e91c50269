"""By which names the server answers: over the wire, as a rebinding page or a proxy would ask."""

import socket

import pytest
from fastapi.testclient import TestClient

from clinical_backend.settings import SettingsError, load_settings
from clinical_backend.web.app import make_app
from clinical_backend.web.hosts import known_hosts, name_of
from tests.web.noting_runner import Wakes
from tests.web.test_security import running


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    settings = load_settings(
        model_dir=tmp_path_factory.mktemp("served"),
        label_studio_url="http://127.0.0.1:9",
        label_studio_api_key="k",
        backend_url="http://Backend:9090/",
        allowed_hosts="ai.example.org, 10.1.2.3,fd00::5",
    )
    with running(make_app(settings, Wakes())) as address:
        yield address


def ask(address, *lines, method="GET", path="/versions"):
    """Return the head and the body of an answer to bytes as they are."""
    with socket.create_connection(address, 20) as connection:
        head = [f"{method} {path} HTTP/1.1", *lines, "Connection: close", "Content-Length: 0", "", ""]
        connection.sendall("\r\n".join(head).encode("latin-1"))
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), head.lower(), body.decode()


KNOWN = [
    "localhost",
    "LOCALHOST:9090",
    "localhost.:1",
    "127.0.0.1",
    "127.0.0.1:65535",
    "[::1]:9090",
    "[0:0:0:0:0:0:0:1]",
    "backend:9090",
    "BACKEND",
    "backend.",
    "ai.example.org",
    "Ai.Example.Org.:443",
    "10.1.2.3:80",
    "[fd00::5]",
    "[FD00:0::5]:9090",
]
UNKNOWN = [
    "evil.example",
    "evil.example:9090",
    "localhost.evil.example",
    "evil-localhost",
    "localhost@evil.example",
    "evil.example@localhost",
    "localhost evil.example",
    "localhost,evil.example",
    "localhost/evil",
    "localhost#",
    "localhost:9090:9090",
    "localhost:x",
    "localhost..",
    "xlocalhost",
    "backend.evil.example",
    "ai.example.org.evil.example",
    "sub.ai.example.org",
    "10.1.2.4",
    "169.254.169.254",
    "[fd00::6]",
    "[::1",
    "::1",
    "[::1]evil.example",
    "0x7f.1",
    "\xe4.example",
    ":9090",
    "",
]


@pytest.mark.parametrize("host", KNOWN)
def test_every_spelling_of_a_known_name_is_answered(served, host):
    assert ask(served, f"Host: {host}")[0] == 200


@pytest.mark.parametrize("host", UNKNOWN)
@pytest.mark.parametrize(("method", "path"), [("GET", "/projects/1"), ("POST", "/setup"), ("GET", "/openapi.json")])
def test_every_other_name_is_misdirected(served, host, method, path):
    status, _, body = ask(served, f"Host: {host}", method=method, path=path)
    assert status == 421
    assert "ALLOWED_HOSTS" in body
    assert "BACKEND_URL" in body


def test_a_person_is_shown_a_page_that_names_the_cure(served):
    status, head, body = ask(served, "Host: evil.example", "Accept: text/html", path="/projects")
    assert status == 421
    assert b"text/html" in head
    assert b"content-security-policy" in head
    assert "ALLOWED_HOSTS" in body
    assert "evil" not in body
    assert ask(served, "Host: evil.example", path="/static/style.css")[0] == 200


def test_health_is_answered_by_any_name_and_nothing_else_is(served):
    assert ask(served, "Host: 203.0.113.9:9090", path="/health")[0] == 200
    for path in ("/", "/ready", "/metrics", "/projects", "/health/", "//health"):
        assert ask(served, "Host: 203.0.113.9:9090", path=path)[0] == 421, path


@pytest.mark.parametrize("name", ["X-Forwarded-Host", "X-Host", "X-Original-Host", "Forwarded", "X-Forwarded-Server"])
def test_headers_of_proxies_make_no_name_known(served, name):
    value = "host=localhost" if name == "Forwarded" else "localhost"
    assert ask(served, "Host: evil.example", f"{name}: {value}")[0] == 421
    assert ask(served, "Host: localhost", f"{name}: evil.example")[0] == 200


def test_several_hosts_are_refused(served):
    for hosts in (["localhost", "evil.example"], ["evil.example", "localhost"]):
        assert ask(served, *(f"Host: {host}" for host in hosts))[0] in {400, 421}


def test_a_whole_address_as_the_target_leads_nowhere(served):
    assert ask(served, "Host: localhost", path="http://evil.example/projects")[0] == 404
    assert ask(served, "Host: evil.example", path="http://localhost/projects")[0] == 421


def test_a_request_of_http_1_0_may_name_no_host(served):
    with socket.create_connection(served, 20) as connection:
        connection.sendall(b"GET /versions HTTP/1.0\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200")


def test_the_address_that_a_connection_was_made_to_is_known(tmp_path):
    app = make_app(load_settings(model_dir=tmp_path, label_studio_api_key="k"), Wakes())
    with TestClient(app, base_url="http://10.20.30.40:9090") as here:
        assert here.get("/versions").status_code == 200
        assert here.get("/versions", headers={"Host": "10.20.30.41:9090"}).status_code == 421
    with TestClient(app, base_url="http://[fd00::7]:9090") as here:
        assert here.get("/versions", headers={"Host": "[fd00:0::7]"}).status_code == 200


@pytest.mark.parametrize("path", ["//evil.example/", "//evil.example/projects/", "/projects/", "/%2f/evil.example/"])
def test_no_redirect_leads_to_another_host(served, path):
    _, head, _ = ask(served, "Host: localhost", "X-Forwarded-Host: evil.example", path=path)
    location = head.partition(b"location: ")[2].split(b"\r\n")[0]
    assert not location or location.startswith(b"http://localhost/")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("allowed_hosts", "http://ai.example.org"),
        ("allowed_hosts", "*"),
        ("allowed_hosts", "a b"),
        ("backend_url", "backend:9090/x"),
        ("backend_url", "http://[::1"),
        ("backend_url", "//"),
    ],
)
def test_a_setting_that_names_no_host_is_refused_with_its_name(setting, value):
    with pytest.raises(SettingsError, match=setting.upper()):
        known_hosts(load_settings(**{setting: value}))


@pytest.mark.parametrize(
    ("host", "known"),
    [("192.168.1.5", "192.168.1.5"), ("::1", "::1"), ("fd00::9", "fd00::9"), ("gpu-box.lan", "gpu-box.lan")],
)
def test_a_concrete_address_to_listen_on_is_known(host, known):
    assert known in known_hosts(load_settings(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_listening_on_all_addresses_makes_no_name_known_but_loopback(host):
    assert known_hosts(load_settings(host=host)) <= {"localhost", "0.0.0.0", "::"}


def test_an_address_has_one_spelling():
    assert name_of("[::ffff:10.0.0.1]") == name_of("10.0.0.1:80") == "10.0.0.1"
