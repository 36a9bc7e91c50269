"""From the address of an image in a task's data to its bytes."""

from __future__ import annotations

import base64
import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qs, urlsplit

import httpx2

from clinical_backend.errors import ImageError, ImageLeftError
from clinical_backend.images.addresses import AddressGuard
from clinical_backend.images.connections import GuardedTransport
from clinical_backend.images.data_urls import read_data_url
from clinical_backend.images.latest_files import LatestFiles
from clinical_backend.images.local_files import LocalFiles
from clinical_backend.images.look import Look
from clinical_backend.images.patience import host_of
from clinical_backend.images.transfer import Transfer
from clinical_backend.study import FilePage, page_in
from clinical_backend.system.parallel import map_in_order
from clinical_backend.system.pulse import note_progress
from clinical_backend.text import storable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from clinical_backend.images.patience import Patience

__all__ = ["SIZE_LIMIT", "ImageRequest", "ImageSource"]

SIZE_LIMIT = 64 * 2**20
"""Most bytes of an image's file, wherever it comes from."""
_CLOUD_SCHEMES = frozenset({"s3", "gs", "azure-blob"})
# What Label Studio serves images under. Nothing else on its host is sent the token.
_GUARDED_PATHS = ("/data/", "/tasks/", "/storage-data/")


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """An image to be fetched: its address as the task's data gives it, the task, and its place in a study."""

    task_id: int | None
    uri: str
    position: int | None = None


class ImageSource:
    """Fetches images wherever Label Studio's tasks may point to.

    Addresses on the Label Studio host (``/data/upload/…``, ``/data/local-files/?d=…``, relative or absolute),
    ``http(s)://`` anywhere else, ``data:`` URLs, and ``s3://``, ``gs://``, ``azure-blob://`` through the
    storage that is set up in Label Studio. A file of local storage is read from disk where a local root has
    it. Nothing fetched is kept on disk: features are, by content, so that an image is rarely fetched twice, and
    one copy less of patients' images lies about.

    Parameters
    ----------
    label_studio_url
        Where Label Studio answers, with its sub-path if it has one.
    client
        Carries Label Studio's authentication. Used only for Label Studio's own addresses, also when a
        redirect leads elsewhere. It must be safe to use from several threads, as httpx2's are; it is not
        closed here.
    local_roots
        Folders that stand for Label Studio's ``LOCAL_FILES_DOCUMENT_ROOT`` on this machine.
    allowed_hosts
        Hosts and networks that images may come from although they are not public; see ``AddressGuard``. Label
        Studio's own host and port are.
    public_client
        Used for all other hosts; by default one that knows no token and connects to permitted addresses only.
    time_out
        Longest wait for a connection, and for each piece of a reply, in seconds.
    time_limit
        Longest time for one image, in seconds.
    size_limit
        Most bytes of an image.
    attempts
        How often a failed connection or a server error is tried in all.
    backoff
        Pause before the second attempt in seconds, doubled before each later one.
    """

    def __init__(
        self,
        label_studio_url: str,
        client: httpx2.Client,
        *,
        local_roots: Sequence[Path] = (),
        allowed_hosts: Sequence[str] = (),
        public_client: httpx2.Client | None = None,
        time_out: float = 10.0,
        time_limit: float = 120.0,
        size_limit: int = SIZE_LIMIT,
        attempts: int = 3,
        backoff: float = 0.25,
    ) -> None:
        self._base = httpx2.URL(label_studio_url.rstrip("/"))
        self._client = client
        self._public_client = public_client or _guarded_client(self._base, allowed_hosts)
        self._owns_public_client = public_client is None
        self._size_limit = size_limit
        self._files = LatestFiles()
        self._local_files = LocalFiles(local_roots, size_limit=size_limit)
        self._transfer = Transfer(
            self._choose_client,
            size_limit=size_limit,
            time_out=time_out,
            time_limit=time_limit,
            attempts=attempts,
            backoff=backoff,
            through_proxy=self._is_guarded,
        )

    def close(self) -> None:
        """Close the connections to other hosts."""
        if self._owns_public_client:
            self._public_client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def forget_files(self) -> None:
        """Let go of files that are kept for a moment, for their next pages."""
        self._files.forget()

    def fetch(self, uri: str, task_id: int | None = None, *, deadline: float | None = None) -> bytes:
        """Return the bytes of an image.

        Parameters
        ----------
        uri
            The address as it stands in the task's data, or of a page of the file there: then the bytes of the whole
            file are a :class:`FilePage`.
        task_id
            The task; needed for cloud addresses, which Label Studio signs task by task.
        deadline
            By ``time.monotonic``, where it is to come sooner than ``time_limit`` says.

        Raises
        ------
        ImageError
            When the image cannot be had. The message holds no path and no token.
        """
        return self.look(uri, task_id, deadline=deadline).content or b""

    def look(
        self, uri: str, task_id: int | None = None, mark: str | None = None, *, deadline: float | None = None
    ) -> Look:
        """Return what is at an address now.

        Parameters
        ----------
        uri, task_id, deadline
            As in :meth:`fetch`.
        mark
            Of an earlier look: where it tells that nothing changed, the bytes are not read.

        Raises
        ------
        ImageError
            When the image cannot be had.
        """
        if page := page_in(uri):
            file, number, _ = page
            read = partial(self.fetch, file, task_id, deadline=deadline)
            return Look(self._files.page((file, task_id), number, read), None)
        uri = storable(uri).strip()
        scheme = uri.partition(":")[0].lower()
        if scheme == "data":
            return Look(read_data_url(uri, size_limit=self._size_limit), None)
        if scheme in _CLOUD_SCHEMES:
            return self._fetch_cloud(uri, task_id, mark, deadline)
        if scheme in {"http", "https"}:
            return self._fetch_web(uri, mark, deadline)
        if uri.startswith("/") and not uri.startswith("//"):
            return self._fetch_web(self._absolute(uri), mark, deadline)
        raise ImageError(
            "The task's data does not hold an address of an image that the backend knows.",
            "Use http(s)://, data:, s3://, gs:// or azure-blob:// addresses, or files that were uploaded to "
            "Label Studio or come from its local storage.",
        )

    def fetch_many(
        self, requests: Iterable[ImageRequest], workers: int = 8, *, deadline: float | None = None
    ) -> Iterator[tuple[ImageRequest, bytes | ImageError]]:
        """Fetch images in parallel; yield them lazily, in order, with the error in place of a failed one.

        At most ``2 * workers`` images are held at a time. Close the iterator, or read it to its end, to let
        its threads go. After the ``deadline``, by ``time.monotonic``, none is fetched any more.
        """

        def attempt(request: ImageRequest) -> tuple[ImageRequest, bytes | ImageError]:
            return request, self._attempt(request, deadline)

        return map_in_order(attempt, requests, workers=workers, look_ahead=2 * workers)

    def fetch_fairly(
        self, requests: Iterable[ImageRequest], patience: Patience, workers: int = 8
    ) -> Iterator[tuple[ImageRequest, bytes | ImageError]]:
        """Fetch images in parallel, as they come: no host takes more than its share, and a slow one is left.

        Hosts take turns, each with at most its share of the threads. What the patience did not last for is yielded
        with an ``ImageLeftError``. Close the iterator, or read it to its end, to let its threads go.
        """
        waiting: dict[str, deque[ImageRequest]] = {}
        for request in requests:
            waiting.setdefault(host_of(request.uri), deque()).append(request)
        running: dict[Future[tuple[ImageRequest, bytes | ImageError]], str] = {}
        executor = ThreadPoolExecutor(max_workers=workers)
        try:
            while waiting or running:
                share = max(1, workers // len({*waiting, *running.values()}))
                turns = [host for host in waiting if list(running.values()).count(host) < share]
                for host in turns[: workers - len(running)]:
                    request = waiting[host].popleft()
                    running[executor.submit(self._attempt_patiently, request, host, patience)] = host
                    others = waiting.pop(host)
                    if others:
                        waiting[host] = others  # its next turn comes after all others'
                if turns and len(running) < workers:
                    continue
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    del running[future]
                    yield future.result()
        finally:
            executor.shutdown(wait=True, cancel_futures=True)

    def _attempt_patiently(
        self, request: ImageRequest, host: str, patience: Patience
    ) -> tuple[ImageRequest, bytes | ImageError]:
        if patience.has_left(host):
            return request, ImageLeftError(f"{host} is slow.", "The image is left for a later round.")
        started = time.monotonic()
        content = self._attempt(request, patience.deadline)
        seconds = time.monotonic() - started
        if not isinstance(content, FilePage) or content.fetched:  # the time of a file counts once, as its bytes do
            patience.spend(host, seconds, len(content) if isinstance(content, bytes) else 0)
        return request, content

    def _attempt(self, request: ImageRequest, deadline: float | None) -> bytes | ImageError:
        late = ImageLeftError("The time for reading images is over.", "The image is read later.")
        try:
            if deadline is not None and time.monotonic() >= deadline:
                return late
            return self.fetch(request.uri, request.task_id, deadline=deadline)
        except ImageError as error:
            return late if deadline is not None and time.monotonic() >= deadline else error
        finally:
            note_progress()

    def _absolute(self, path: str) -> str:
        """Return the absolute address of a path on the Label Studio host, with or without its sub-path."""
        sub_path = self._base.path.rstrip("/")
        origin = str(self._base.copy_with(path="/", query=None, fragment=None)).rstrip("/")
        if sub_path and not path.startswith(f"{sub_path}/"):
            path = sub_path + path
        return origin + path

    def _fetch_web(self, address: str, mark: str | None, deadline: float | None) -> Look:
        local = self._local_name(address)
        if local is not None:
            look = self._local_files.read(local, mark)
            if look is not None:
                return look
        return self._transfer.get(address, mark, deadline)

    def _fetch_cloud(self, uri: str, task_id: int | None, mark: str | None, deadline: float | None) -> Look:
        if task_id is None:
            raise ImageError(
                "An image in cloud storage can only be fetched for a task.",
                "Import it as a task through the project's cloud storage.",
            )
        file_uri = base64.urlsafe_b64encode(uri.encode()).decode()
        return self._transfer.get(self._absolute(f"/tasks/{task_id}/presign/?fileuri={file_uri}"), mark, deadline)

    def _local_name(self, address: str) -> str | None:
        """Return which local file an address of the Label Studio host asks for, if it asks for one."""
        try:
            parts = urlsplit(address)
            url = httpx2.URL(address)
        except (httpx2.InvalidURL, ValueError):
            return None
        if not self._is_guarded(url) or not parts.path.rstrip("/").endswith("/data/local-files"):
            return None
        return next(iter(parse_qs(parts.query).get("d", ())), None)

    def _is_guarded(self, url: httpx2.URL) -> bool:
        """Whether an address is one of Label Studio's own for images."""
        sub_path = self._base.path.rstrip("/")
        same_origin = (url.scheme, url.host, _port(url)) == (
            self._base.scheme,
            self._base.host,
            _port(self._base),
        )
        plain = "/.." not in url.path and not url.userinfo
        return same_origin and plain and url.path.startswith(tuple(sub_path + path for path in _GUARDED_PATHS))

    def _choose_client(self, url: httpx2.URL) -> httpx2.Client:
        return self._client if self._is_guarded(url) else self._public_client


def _guarded_client(label_studio: httpx2.URL, allowed_hosts: Sequence[str]) -> httpx2.Client:
    host = f"[{label_studio.host}]" if ":" in label_studio.host else label_studio.host
    guard = AddressGuard([*allowed_hosts, f"{host}:{_port(label_studio)}"])
    return httpx2.Client(transport=GuardedTransport(guard))


def _port(url: httpx2.URL) -> int | None:
    return url.port or {"http": 80, "https": 443}.get(url.scheme)
