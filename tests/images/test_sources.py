"""An image is fetched from wherever a task points to, and the token goes to Label Studio alone."""

import base64
import os
import threading
from urllib.parse import quote

import httpx2
import pytest

from clinical_backend.errors import ImageError
from clinical_backend.images import local_files
from clinical_backend.images.patience import Patience
from clinical_backend.images.sources import ImageRequest, ImageSource

LABEL_STUDIO = "http://label-studio.test:8080"
TOKEN = "Token not-to-be-seen"


class World:
    """Label Studio and the rest of the web, as handlers by address; it records who was sent the token."""

    def __init__(self, base=LABEL_STUDIO):
        self.base = base
        self.replies = {}
        self.requests = []

    def handle(self, request):
        self.requests.append((str(request.url), request.headers.get("authorization")))
        reply = self.replies.get(str(request.url), httpx2.Response(404))
        if callable(reply):
            reply = reply(request)
        if isinstance(reply, Exception):
            raise reply
        # A fresh copy, since a reply's stream can be read once.
        return httpx2.Response(reply.status_code, headers=reply.headers, content=reply.content)

    def source(self, **options):
        transport = httpx2.MockTransport(self.handle)
        client = httpx2.Client(transport=transport, headers={"Authorization": TOKEN}, follow_redirects=True)
        public = httpx2.Client(transport=transport, follow_redirects=True)
        return ImageSource(self.base, client, public_client=public, backoff=0.0, **options)

    @property
    def with_token(self):
        return [url for url, token in self.requests if token == TOKEN]


def ok(content=b"pixels"):
    return httpx2.Response(200, content=content)


def redirect(location, status=303):
    return httpx2.Response(status, headers={"location": location})


@pytest.fixture
def world():
    return World()


@pytest.mark.parametrize(
    "path", ["/data/upload/1/a.png", "/data/local-files/?d=a/b.png", "/storage-data/uploaded/?filepath=a.png"]
)
@pytest.mark.parametrize("prefix", ["", LABEL_STUDIO])
def test_label_studio_is_asked_with_the_token(world, path, prefix):
    world.replies[LABEL_STUDIO + path] = ok()
    assert world.source().fetch(prefix + path) == b"pixels"
    assert world.with_token == [LABEL_STUDIO + path]


@pytest.mark.parametrize("uri", ["/data/upload/1/a.png", "/sub/path/data/upload/1/a.png"])
def test_a_sub_path_is_put_before_an_address_once(uri):
    world = World("https://hospital.test/sub/path/")
    world.replies["https://hospital.test/sub/path/data/upload/1/a.png"] = ok()
    assert world.source().fetch(uri) == b"pixels"
    assert len(world.with_token) == 1


@pytest.mark.parametrize(
    "uri",
    [
        "https://elsewhere.test/a.png",
        "http://label-studio.test/data/upload/1/a.png",  # another port
        "https://label-studio.test:8080/data/upload/1/a.png",  # another scheme
        "http://label-studio.test.evil.test:8080/data/upload/1/a.png",
        "http://label-studio.test:8080@evil.test/data/upload/1/a.png",
        "http://evil.test/?http://label-studio.test:8080/data/upload/1/a.png",
        f"{LABEL_STUDIO}/api/projects/",  # Label Studio's, and no image
        f"{LABEL_STUDIO}/data/../api/projects/",
        f"{LABEL_STUDIO}/data/%2e%2e/api/projects/",
        f"{LABEL_STUDIO}/data/..%2fapi/projects/",
    ],
)
def test_no_other_address_is_sent_the_token(world, uri):
    with pytest.raises(ImageError, match="does not have the image"):
        world.source().fetch(uri)
    assert world.requests
    assert world.with_token == []


def test_another_path_beside_the_sub_path_is_not_sent_the_token():
    world = World("https://hospital.test/label-studio")
    world.replies["https://hospital.test/data/upload/a.png"] = ok()
    assert world.source().fetch("https://hospital.test/data/upload/a.png") == b"pixels"
    assert world.with_token == []


def test_a_redirect_away_from_label_studio_loses_the_token(world):
    world.replies[f"{LABEL_STUDIO}/data/upload/1/a.png"] = redirect("https://store.test/a.png?sign=1")
    world.replies["https://store.test/a.png?sign=1"] = ok()
    assert world.source().fetch("/data/upload/1/a.png") == b"pixels"
    assert world.with_token == [f"{LABEL_STUDIO}/data/upload/1/a.png"]


def test_a_redirect_within_label_studio_keeps_the_token(world):
    world.replies[f"{LABEL_STUDIO}/data/upload/1/a.png"] = redirect("/storage-data/a.png", 302)
    world.replies[f"{LABEL_STUDIO}/storage-data/a.png"] = ok()
    assert world.source().fetch("/data/upload/1/a.png") == b"pixels"
    assert len(world.with_token) == 2


@pytest.mark.parametrize("location", ["file:///etc/passwd", "data:,x", "gopher://a/", "http://"])
def test_a_redirect_to_anything_but_the_web_is_refused(world, location):
    world.replies["https://store.test/a"] = redirect(location)
    with pytest.raises(ImageError):
        world.source().fetch("https://store.test/a")
    assert len(world.requests) == 1


def test_a_loop_of_redirects_ends(world):
    world.replies["https://store.test/a"] = redirect("https://store.test/a")
    with pytest.raises(ImageError, match="redirects more than 5 times"):
        world.source().fetch("https://store.test/a")
    assert len(world.requests) == 6


@pytest.mark.parametrize("uri", ["s3://bucket/Ä b.png", "gs://bucket/a.png", "azure-blob://container/a.png?x=~~~"])
def test_cloud_addresses_go_through_label_studios_presign_call(world, uri):
    encoded = base64.urlsafe_b64encode(uri.encode()).decode()
    presign = f"{LABEL_STUDIO}/tasks/7/presign/?fileuri={encoded}"
    world.replies[presign] = redirect("https://store.test/a.png?signature=x")
    world.replies["https://store.test/a.png?signature=x"] = ok()
    assert world.source().fetch(uri, task_id=7) == b"pixels"
    assert world.with_token == [presign]


def test_a_store_that_label_studio_proxies_is_read_directly(world):
    uri = "s3://bucket/a.png"
    encoded = base64.urlsafe_b64encode(uri.encode()).decode()
    world.replies[f"{LABEL_STUDIO}/tasks/7/presign/?fileuri={encoded}"] = ok()
    assert world.source().fetch(uri, task_id=7) == b"pixels"


def test_a_cloud_address_without_a_task_is_refused(world):
    with pytest.raises(ImageError, match="only be fetched for a task"):
        world.source().fetch("s3://bucket/a.png")
    assert world.requests == []


def test_a_data_url_needs_no_request(world):
    assert world.source().fetch("data:,pixels") == b"pixels"
    assert world.requests == []


@pytest.mark.parametrize(
    "uri",
    ["", "a.png", "images/a.png", "//evil.test/a.png", "ftp://x/a.png", "file:///etc/passwd", "C:\\a.png"],
)
def test_other_addresses_are_refused(world, uri):
    with pytest.raises(ImageError, match="does not hold an address"):
        world.source().fetch(uri)
    assert world.requests == []


@pytest.mark.parametrize("uri", ["http://", "http://[::1", "http://a:999999/", "http://é\x00/"])
def test_a_malformed_web_address_is_refused(world, uri):
    with pytest.raises(ImageError, match="not a valid"):
        world.source().fetch(uri)


@pytest.mark.parametrize("host", [f"{'a' * 80}.test", "a..test", "127.0.0.1:1", "no-such-host.invalid"])
def test_a_host_that_cannot_be_reached_is_an_image_error(host):
    with (
        httpx2.Client(trust_env=False) as client,
        ImageSource(LABEL_STUDIO, client, public_client=client, attempts=1) as source,
        pytest.raises(ImageError),
    ):
        source.fetch(f"http://{host}/a.png")


class TestLocalFiles:
    @pytest.fixture
    def root(self, tmp_path):
        root = tmp_path / "root"
        (root / "scans").mkdir(parents=True)
        (root / "scans" / "a b.png").write_bytes(b"from disk")
        (tmp_path / "secret").write_bytes(b"secret")
        return root

    @pytest.mark.parametrize("prefix", ["", LABEL_STUDIO])
    @pytest.mark.parametrize("name", ["scans/a b.png", "/scans/a b.png", "scans/./x/../a b.png"])
    def test_a_file_inside_a_root_is_read_from_disk(self, world, root, prefix, name):
        source = world.source(local_roots=[root])
        assert source.fetch(f"{prefix}/data/local-files/?d={quote(name)}") == b"from disk"
        assert world.requests == []

    def test_under_a_sub_path_too(self, root):
        world = World("https://hospital.test/label-studio")
        source = world.source(local_roots=[root])
        assert source.fetch("/label-studio/data/local-files/?d=scans/a%20b.png") == b"from disk"
        assert source.fetch("/data/local-files/?d=scans/a%20b.png") == b"from disk"

    @pytest.mark.parametrize("name", ["../secret", "scans/../../secret", "link", "folder/secret", "scans", "", "\0"])
    def test_nothing_outside_a_root_is_read(self, world, root, name):
        (root / "link").symlink_to(root.parent / "secret")
        (root / "folder").symlink_to(root.parent)
        with pytest.raises(ImageError):
            world.source(local_roots=[root]).fetch(f"/data/local-files/?d={quote(name)}")

    def test_a_link_inside_the_root_is_followed(self, world, root):
        (root / "link.png").symlink_to(root / "scans" / "a b.png")
        assert world.source(local_roots=[root]).fetch("/data/local-files/?d=link.png") == b"from disk"

    def test_another_host_reads_no_local_file(self, world, root):
        world.replies["http://evil.test/data/local-files/?d=scans/a%20b.png"] = ok(b"from the web")
        source = world.source(local_roots=[root])
        assert source.fetch("http://evil.test/data/local-files/?d=scans/a%20b.png") == b"from the web"

    def test_a_file_that_no_root_holds_is_asked_of_label_studio(self, world, root):
        world.replies[f"{LABEL_STUDIO}/data/local-files/?d=other.png"] = ok()
        assert world.source(local_roots=[root]).fetch("/data/local-files/?d=other.png") == b"pixels"

    @pytest.mark.parametrize("swapped", ["scans", "scans/a b.png"])
    def test_a_link_that_appears_after_the_check_leads_nowhere(self, world, root, swapped, monkeypatch):
        other = root.parent / "other"
        other.mkdir()
        (other / "a b.png").write_bytes(b"secret")
        opened = local_files.os.open

        def swap_then_open(path, *arguments, **options):
            if path == root:  # the path was checked, and nothing of it is open yet
                (root / swapped).rename(root.parent / "moved")
                (root / swapped).symlink_to(other if swapped == "scans" else other / "a b.png")
            return opened(path, *arguments, **options)

        monkeypatch.setattr(local_files.os, "open", swap_then_open)
        with pytest.raises(ImageError, match="does not have the image"):
            world.source(local_roots=[root]).fetch("/data/local-files/?d=scans/a%20b.png")

    def test_a_pipe_is_not_waited_for(self, world, root):
        os.mkfifo(root / "pipe")
        with pytest.raises(ImageError, match="does not have the image"):
            world.source(local_roots=[root]).fetch("/data/local-files/?d=pipe")

    def test_without_a_root_nothing_is_read_from_disk(self, world, root):
        world.replies[f"{LABEL_STUDIO}/data/local-files/?d={quote(str(root / 'scans' / 'a b.png'))}"] = ok()
        assert world.source().fetch(f"/data/local-files/?d={quote(str(root / 'scans' / 'a b.png'))}") == b"pixels"

    def test_a_file_over_the_limit_is_refused(self, world, root):
        source = world.source(local_roots=[root], size_limit=8)
        with pytest.raises(ImageError, match="local file"):
            source.fetch("/data/local-files/?d=scans/a%20b.png")


class Endless(httpx2.SyncByteStream):
    """A reply without an end, which counts what was read of it."""

    def __init__(self):
        self.read = 0
        self.closed = False

    def __iter__(self):
        while True:
            self.read += 1000
            yield bytes(1000)

    def close(self):
        self.closed = True


class TestTransfer:
    def streaming(self, reply, **options):
        client = httpx2.Client(transport=httpx2.MockTransport(lambda _: reply))
        return ImageSource(LABEL_STUDIO, client, public_client=client, backoff=0.0, **options)

    def test_an_endless_reply_is_cut_off_at_the_limit(self):
        stream = Endless()
        source = self.streaming(httpx2.Response(200, stream=stream), size_limit=10_000)
        with pytest.raises(ImageError, match="sends more than"):
            source.fetch("http://a.test/x")
        assert stream.closed
        assert stream.read <= 100_000

    def test_a_reply_that_says_it_is_too_long_is_not_read(self):
        stream = Endless()
        reply = httpx2.Response(200, headers={"content-length": "10001"}, stream=stream)
        with pytest.raises(ImageError, match="sends more than"):
            self.streaming(reply, size_limit=10_000).fetch("http://a.test/x")
        assert (stream.closed, stream.read) == (True, 0)

    def test_a_reply_that_takes_too_long_is_cut_off(self):
        source = self.streaming(httpx2.Response(200, stream=Endless()), time_limit=-1.0)
        with pytest.raises(ImageError, match="too slowly"):
            source.fetch("http://a.test/x")

    @pytest.mark.parametrize("bad", [httpx2.Response(503), httpx2.Response(429), httpx2.ConnectError("no")])
    def test_what_may_pass_is_tried_again(self, world, bad):
        replies = [bad, bad, ok()]
        world.replies["http://a.test/x"] = lambda _: replies.pop(0)
        assert world.source().fetch("http://a.test/x") == b"pixels"

    @pytest.mark.parametrize(
        ("bad", "message"),
        [(httpx2.Response(503), "status 503"), (httpx2.ReadTimeout("slow"), "takes too long to answer")],
    )
    def test_it_gives_up_after_the_attempts(self, world, bad, message):
        world.replies["http://a.test/x"] = bad
        with pytest.raises(ImageError, match=message):
            world.source(attempts=3).fetch("http://a.test/x")
        assert len(world.requests) == 3

    @pytest.mark.parametrize(
        ("reply", "message"),
        [
            (httpx2.Response(401), "LABEL_STUDIO_API_KEY"),
            (httpx2.Response(403), "refuses to show"),
            (httpx2.Response(404), "does not have the image"),
            (httpx2.Response(418), "status 418"),
            (httpx2.Response(200, headers={"content-type": "text/html; charset=utf-8"}), "web page"),
        ],
    )
    def test_a_refusal_is_not_tried_again_and_names_the_cure(self, world, reply, message):
        world.replies[f"{LABEL_STUDIO}/data/upload/Jane-Doe.png?signature=s3cr3t"] = reply
        with pytest.raises(ImageError, match=message) as refusal:
            world.source().fetch("/data/upload/Jane-Doe.png?signature=s3cr3t")
        assert len(world.requests) == 1
        assert refusal.value.cure
        assert not any(secret in str(refusal.value) for secret in ("Jane", "s3cr3t", "not-to-be-seen"))


class TestFetchMany:
    def test_results_come_in_order_with_errors_in_place(self, world):
        for number in range(20):
            world.replies[f"http://a.test/{number}"] = ok(b"%d" % number)
        world.replies["http://a.test/5"] = httpx2.Response(404)
        requests = [ImageRequest(number, f"http://a.test/{number}") for number in range(20)]
        results = list(world.source().fetch_many(requests, workers=4))
        assert [request for request, _ in results] == requests
        assert isinstance(results.pop(5)[1], ImageError)
        assert all(content == b"%d" % request.task_id for request, content in results)

    def test_it_reads_ahead_by_a_bounded_amount(self, world):
        asked = []

        def requests():
            for number in range(50_000):
                asked.append(number)
                yield ImageRequest(number, "data:,x")

        results = world.source().fetch_many(requests(), workers=2)
        assert asked == []
        next(results)
        next(results)
        assert len(asked) <= 6
        results.close()

    def test_closing_it_lets_its_threads_go(self, world):
        before = threading.active_count()
        results = world.source().fetch_many([ImageRequest(1, "data:,x")] * 100, workers=4)
        next(results)
        results.close()
        assert threading.active_count() == before

    def test_no_request_gives_no_result(self, world):
        assert list(world.source().fetch_many([])) == []


def test_pages_of_a_file_are_its_bytes_and_it_is_asked_for_once(world):
    address = f"{LABEL_STUDIO}/data/upload/1/a.tif"
    world.replies[address] = ok(b"file")
    source = world.source()
    wanted = [ImageRequest(1, f"page:{number}/3:/data/upload/1/a.tif", number) for number in range(3)]
    found = [content for _, content in source.fetch_many(wanted)]
    assert found == [b"file"] * 3
    assert [content.page for content in found] == [0, 1, 2]
    assert world.with_token == [address]
    refused = source.fetch_many([ImageRequest(1, "page:0/3:/etc/passwd/../a.tif", 0)])
    assert all(isinstance(content, ImageError) for _, content in refused)


def test_a_file_counts_once_in_what_its_host_is_given_however_many_pages_are_asked_for(world, monkeypatch):
    world.replies["http://a.test/a.tif"] = ok(b"file")
    patience, spent = Patience(), []
    monkeypatch.setattr(patience, "spend", lambda host, seconds, size: spent.append((host, size)))
    wanted = [ImageRequest(1, f"page:{number}/3:http://a.test/a.tif", number) for number in range(3)]
    assert len(list(world.source().fetch_fairly(wanted, patience))) == 3
    assert spent == [("a.test", 4)]
