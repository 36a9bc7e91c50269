"""No address makes the backend fetch from a network that it was not told of. The servers here are real."""

import contextlib
import ipaddress
import socket

import httpx2
import pytest

from clinical_backend.errors import ImageError, InvalidArgumentError
from clinical_backend.images.addresses import AddressGuard, is_public
from clinical_backend.images.connections import GuardedTransport
from clinical_backend.images.sources import ImageSource
from tests.images.servers import reply, serving

ELSEWHERE = "http://label-studio.invalid:8080"


@pytest.fixture
def server():
    with serving(reply) as running:
        yield running


@contextlib.contextmanager
def source(*, allowed=(), label_studio=ELSEWHERE, token="", attempts=1, **options):
    headers = {"Authorization": token} if token else {}
    with (
        httpx2.Client(verify=False, trust_env=False, headers=headers) as client,
        ImageSource(label_studio, client, allowed_hosts=allowed, attempts=attempts, backoff=0.0, **options) as images,
    ):
        yield images


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "2130706433",  # decimal
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",  # octal
        "127.1",
        "127.0.0.2",
        "0.0.0.0",
        "0",
        "[::1]",
        "[::ffff:127.0.0.1]",  # IPv4-mapped
        "[::ffff:7f00:1]",
        "[::]",
        "[::127.0.0.1]",
        "①②⑦.⓪.⓪.①",
        "127.0.0.1.",
        "user:password@127.0.0.1",
    ],
)
def test_no_spelling_of_this_machine_is_fetched_from(server, host):
    with source() as images, pytest.raises(ImageError):
        images.fetch(f"http://{host}:{server.port}/image.png")
    assert server.requests == []


def test_the_refusal_names_the_setting(server):
    with source() as images, pytest.raises(ImageError, match="IMAGE_HOSTS"):
        images.fetch(f"http://localhost:{server.port}/Jane-Doe.png")


@pytest.mark.parametrize(
    "allowed", ["127.0.0.1", "127.0.0.1:{port}", "127.0.0.0/8", " 127.0.0.1:{port} ", "127.0.0.1/32"]
)
def test_a_store_that_is_named_is_fetched_from(server, allowed):
    with source(allowed=[allowed.format(port=server.port)]) as images:
        assert images.fetch(f"http://127.0.0.1:{server.port}/image.png") == b"pixels"


def test_a_store_is_named_by_its_name_in_any_case(server):
    with source(allowed=["LocalHost"]) as images:
        assert images.fetch(f"http://localhost:{server.port}/image.png") == b"pixels"


def test_ipv6_stores_can_be_named():
    with serving(reply, "::1") as server:
        for allowed in (f"[::1]:{server.port}", "::1", "[::1]", "::/64"):
            with source(allowed=[allowed]) as images:
                assert images.fetch(f"http://[::1]:{server.port}/image.png") == b"pixels"


@pytest.mark.parametrize("allowed", ["127.0.0.1:1", "localhost", "127.0.0.2", "10.0.0.0/8"])
def test_naming_something_else_opens_nothing(server, allowed):
    with source(allowed=[allowed]) as images, pytest.raises(ImageError):
        images.fetch(f"http://127.0.0.1:{server.port}/image.png")
    assert server.requests == []


@pytest.mark.parametrize("entry", ["", "10.0.0.0/99", "minio:port", "a/b"])
def test_an_entry_that_names_nothing_is_refused(entry):
    with pytest.raises(InvalidArgumentError, match="IMAGE_HOSTS"):
        AddressGuard([entry])


def test_label_studio_itself_needs_no_entry_but_its_other_ports_do(server):
    with serving(reply) as other, source(label_studio=f"http://127.0.0.1:{server.port}", token="Token key") as images:
        assert images.fetch("/data/upload/1/a.png") == b"pixels"
        assert images.fetch(f"http://127.0.0.1:{server.port}/static/a.png") == b"pixels"
        with pytest.raises(ImageError, match="private network"):
            images.fetch(f"http://127.0.0.1:{other.port}/a.png")
        assert other.requests == []
    assert server.requests == [("/data/upload/1/a.png", "Token key"), ("/static/a.png", None)]


def test_every_hop_of_a_redirect_is_checked(server):
    def lead_on(request):
        reply(request, b"", 302, Location=f"http://127.0.0.2:{server.port}/secret")

    with serving(lead_on) as first, source(allowed=[f"127.0.0.1:{first.port}"]) as images:
        with pytest.raises(ImageError, match="private network"):
            images.fetch(f"http://127.0.0.1:{first.port}/a.png")
        assert len(first.requests) == 1
    assert server.requests == []


def test_a_redirect_of_label_studio_to_a_named_store_loses_the_token(server):
    def sign(request):
        reply(request, b"", 303, Location=f"http://127.0.0.1:{server.port}/a.png?signature=x")

    with (
        serving(sign) as label_studio,
        source(
            allowed=[f"127.0.0.1:{server.port}"],
            label_studio=f"http://127.0.0.1:{label_studio.port}",
            token="Token key",
        ) as images,
    ):
        assert images.fetch("s3://bucket/a.png", task_id=1) == b"pixels"
        assert [token for _, token in label_studio.requests] == ["Token key"]
    assert server.requests == [("/a.png?signature=x", None)]


class Resolver:
    """A name server whose answers change from one question to the next."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = 0

    def __call__(self, host, port):
        self.asked += 1
        return self.answers[min(self.asked, len(self.answers)) - 1]


def guarded(resolver, allowed=()):
    return httpx2.Client(transport=GuardedTransport(AddressGuard(allowed, resolver=resolver)))


def test_a_name_is_resolved_once_and_the_checked_address_is_connected_to(server, monkeypatch):
    connected = []

    def connect(address, *_, **__):
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", connect)
    rebinding = Resolver(["93.184.216.34"], ["127.0.0.1"])
    with guarded(rebinding) as client, pytest.raises(httpx2.ConnectError):
        client.get(f"http://rebinding.test:{server.port}/")
    assert (rebinding.asked, connected) == (1, [("93.184.216.34", server.port)])
    with guarded(rebinding) as client, pytest.raises(ImageError, match="private network"):
        client.get(f"http://rebinding.test:{server.port}/")
    assert len(connected) == 1


def test_of_public_and_private_addresses_only_the_permitted_are_tried(server):
    mixed = Resolver(["169.254.169.254", "127.0.0.1", "127.0.0.2"])
    with guarded(mixed, ["127.0.0.0/8"]) as client:
        assert client.get(f"http://mixed.test:{server.port}/").content == b"pixels"
    assert AddressGuard(resolver=Resolver(["10.0.0.1", "93.184.216.34"])).permitted("a", 1) == ["93.184.216.34"]


def test_a_kept_connection_is_not_used_for_another_name(server):
    """The name that was checked is what connections are kept by."""
    answers = {"good.test": ["127.0.0.1"], "bad.test": ["10.0.0.1"]}
    with guarded(lambda host, _: answers[host], ["127.0.0.0/8"]) as client:
        assert client.get(f"http://good.test:{server.port}/").is_success
        with pytest.raises(ImageError):
            client.get(f"http://bad.test:{server.port}/")


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.1",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "192.168.0.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::10.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "2002:0a00:0001::",  # 6to4 of 10.0.0.1
        "2001:0:7f00:1::",  # Teredo by way of 127.0.0.1
        "64:ff9b::7f00:1",  # NAT64 of 127.0.0.1
        "64:ff9b:1::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ],
)
def test_addresses_that_are_not_public(address):
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["93.184.216.34", "8.8.8.8", "2606:2800:220:1::1", "::ffff:8.8.8.8"])
def test_addresses_that_are_public(address):
    assert is_public(ipaddress.ip_address(address))


class TestHostileServers:
    def drip(self, request):
        request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        self.one_by_one(request, b"x")

    def drip_headers(self, request):
        request.wfile.write(b"HTTP/1.1 200 OK\r\n")
        self.one_by_one(request, b"X-Name: value\r\n")

    def one_by_one(self, request, piece):
        while not request.server.stopping.wait(0.02):
            request.wfile.write(piece)

    @pytest.mark.parametrize("how", ["drip", "drip_headers"])
    def test_a_server_that_drips_is_left_in_time(self, how):
        with (
            serving(getattr(self, how)) as server,
            source(allowed=["127.0.0.1"], time_limit=0.3) as images,
            pytest.raises(ImageError, match=r"takes too long to answer|too slowly"),  # it would drip for ever
        ):
            images.fetch(f"http://127.0.0.1:{server.port}/a.png")

    def test_a_server_that_says_nothing_is_left_in_time(self):
        with (
            serving(lambda request: request.server.stopping.wait()) as server,
            source(allowed=["127.0.0.1"], time_out=0.2) as images,
            pytest.raises(ImageError, match="cannot be reached"),
        ):
            images.fetch(f"http://127.0.0.1:{server.port}/a.png")

    @pytest.mark.parametrize("chunked", [True, False])
    def test_an_endless_image_is_cut_off(self, chunked):
        def pour(request):
            request.wfile.write(b"HTTP/1.1 200 OK\r\n")
            request.wfile.write(b"Transfer-Encoding: chunked\r\n\r\n" if chunked else b"Connection: close\r\n\r\n")
            while not request.server.stopping.is_set():
                request.wfile.write(b"3e8\r\n" + bytes(1000) + b"\r\n" if chunked else bytes(1000))

        with (
            serving(pour) as server,
            source(allowed=["127.0.0.1"], size_limit=100_000) as images,
            pytest.raises(ImageError, match="sends more than"),
        ):
            images.fetch(f"http://127.0.0.1:{server.port}/a.png")

    def test_an_image_cut_off_on_its_way_is_tried_again(self):
        def cut(request):
            request.close_connection = True
            if len(request.server.requests) == 1:
                request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\npix")
            else:
                reply(request)

        with serving(cut) as server, source(allowed=["127.0.0.1"], attempts=2) as images:
            assert images.fetch(f"http://127.0.0.1:{server.port}/a.png") == b"pixels"

    @pytest.mark.parametrize(
        "answer",
        [
            b"\xff\xfe nonsense\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
            b"HTTP/1.1 302 Found\r\nLocation: http://[bad\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        ],
    )
    def test_a_reply_that_is_no_http_is_refused(self, answer):
        def speak(request):
            request.close_connection = True
            request.wfile.write(answer)

        with serving(speak) as server, source(allowed=["127.0.0.1"]) as images, pytest.raises(ImageError):
            images.fetch(f"http://127.0.0.1:{server.port}/a.png")
