"""A DICOMweb archive on loopback whose answers a test may change."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from clinical_backend.archive.access import ArchiveAccess
from clinical_backend.archive.attributes import entry_of
from clinical_backend.archive.dicomweb import DicomWeb
from tests.images.servers import reply, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from http.server import BaseHTTPRequestHandler

    from tests.images.servers import Server

    Handle = Callable[[BaseHTTPRequestHandler], None]

STUDY, SERIES = "1.2.3", "1.2.3.4"
OBJECT = b"\0" * 128 + b"DICM" + bytes(range(256))
BOUNDARY = "b0und'ary"
PARTS = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'


def entry(number: int = 1, **attributes: Any) -> dict[str, Any]:
    """Return what an archive says of an object, and of its study and series."""
    told: dict[str, Any] = {
        "StudyInstanceUID": STUDY,
        "SeriesInstanceUID": SERIES,
        "SOPInstanceUID": f"{SERIES}.{number}",
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4",
        "Modality": "MR",
        "PatientID": "4711",
        "Rows": 4,
        "Columns": 4,
        "InstanceNumber": number,
        **attributes,
    }
    return entry_of({name: [value] for name, value in told.items()})


def in_parts(*objects: bytes, boundary: str = BOUNDARY, end: str = "--") -> bytes:
    """Return a body in parts."""
    head = f"\r\n--{boundary}\r\nContent-Type: application/dicom\r\nMIME-Version: 1.0\r\n\r\n".encode()
    return b"".join(head + each for each in objects) + f"\r\n--{boundary}{end}\r\n".encode()


def kind_of(path: str) -> str:
    """Return what a path asks for: studies, series, instances or an object."""
    parts = urlsplit(path).path.removeprefix("/dicom-web").strip("/").split("/")
    return "object" if len(parts) == 6 else parts[-1]


class FalseArchive:
    """Answers as an archive with some objects, and otherwise where a test says so.

    Attributes
    ----------
    entries
        Of its objects.
    most
        On a page, whatever is asked for.
    instead
        Functions that answer in place of it, by ``studies``, ``series``, ``instances`` and ``object``.
    """

    def __init__(self, *entries: dict[str, Any]) -> None:
        self.entries = list(entries or [entry()])
        self.most = 10**6
        self.instead: dict[str, Handle] = {}
        self.server: Server

    @contextlib.contextmanager
    def open(self, *, token: str = "", **options: Any) -> Iterator[DicomWeb]:
        """Run it, and yield what finds and reads its objects."""
        with serving(self.handle) as self.server:
            access = ArchiveAccess(f"http://127.0.0.1:{self.server.port}/dicom-web/", token=token)
            source = DicomWeb(access, sleep=lambda _: None, **options)
            with source:
                yield source

    def asked(self, kind: str) -> int:
        """Return how often it was asked for something."""
        return sum(kind_of(path) == kind for path, _ in self.server.requests)

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        """Answer a request."""
        kind = kind_of(request.path)
        if kind in self.instead:
            self.instead[kind](request)
        elif kind == "object":
            reply(request, in_parts(OBJECT), 200, **{"Content-Type": PARTS})
        else:
            answer(request, self.page(request, self.entries))

    def page(self, request: BaseHTTPRequestHandler, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the part of the entries that a request asks for."""
        query = parse_qs(urlsplit(request.path).query)
        limit, offset = int(query["limit"][0]), int(query.get("offset", ["0"])[0])
        return entries[offset : offset + min(limit, self.most)]


def answer(request: BaseHTTPRequestHandler, content: Any, **headers: str) -> None:
    """Answer with DICOM in JSON."""
    reply(request, json.dumps(content).encode(), 200, **{"Content-Type": "application/dicom+json", **headers})
