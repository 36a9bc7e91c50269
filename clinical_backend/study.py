"""Studies: tasks with several images. Which images they are, and what identifies them together."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import astuple, dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "IMAGES_PER_TASK",
    "PAGE",
    "STUDY",
    "FilePage",
    "StudyImage",
    "address_of_images",
    "as_given",
    "digest_of_images",
    "evenly_spaced",
    "file_of",
    "page_in",
    "with_pages",
    "without_pages",
]

STUDY = "study:"
"""What stands before the sha256 of its images' addresses where a single image has its address."""

PAGE = "page:"
"""What stands before the number of a page, that of all pages, and the address of the file that has them."""

_PAGE = re.compile(r"page:(\d{1,9})/(\d{1,9}):(.*)", re.ASCII | re.DOTALL)

IMAGES_PER_TASK = 32
"""A mammogram has 4 views, a slide some 20 fields; of a series of 200 slices every sixth is read. 10,000 such tasks are
320,000 images, which a processor of 2 cores embeds in some hours once (docs/speed.md); chosen, not measured."""


@dataclass(frozen=True, slots=True)
class StudyImage:
    """One of the images of a task.

    Attributes
    ----------
    position
        Its place among all that the task shows, from 0.
    total
        How many these are, also where not all are read.
    view
        Name of the ``Image`` tag that shows it; empty where the labeling config has one alone.
    uri
        Its address.
    """

    position: int
    total: int
    view: str
    uri: str


class FilePage(bytes):
    """The bytes of a whole file, of which one page or frame is meant.

    Attributes
    ----------
    page
        Its number, from 0.
    key
        What identifies it by its content: hexadecimal digits.
    fetched
        Whether the file was fetched for it, and not for another page before.
    """

    page: int
    key: str
    fetched: bool

    @classmethod
    def of(cls, content: bytes, file_digest: str, page: int, *, fetched: bool = True) -> FilePage:
        """Return a page of a file.

        Parameters
        ----------
        content
            Of the file.
        file_digest
            sha256 of it, as hexadecimal digits.
        page
            Its number, from 0.
        fetched
            Whether the file was fetched for it.
        """
        made = cls(content)
        made.page, made.fetched = page, fetched
        made.key = hashlib.sha256(f"{file_digest} page {page}".encode()).hexdigest()
        return made


def address_of_images(images: Sequence[StudyImage]) -> str:
    """Return what stands for the addresses of a task's images: that of a single one itself; empty for none."""
    if len(images) <= 1:
        return images[0].uri if images else ""
    text = json.dumps([astuple(image) for image in images], ensure_ascii=True, separators=(",", ":"))
    return f"{STUDY}{hashlib.sha256(text.encode()).hexdigest()}"


def as_given(address: str) -> str:
    """Return an address of a task's data, with a space before one that would be taken for those that are made here."""
    return f" {address}" if address.startswith((STUDY, PAGE)) else address


def page_in(address: str) -> tuple[str, int, int] | None:
    """Return the file, the number from 0, and the number of all pages of an address of a page; ``None`` for others."""
    found = _PAGE.fullmatch(address)
    return None if found is None else (found[3], int(found[1]), int(found[2]))


def file_of(address: str) -> str:
    """Return the address of the file of which one page may be meant."""
    page = page_in(address)
    return address if page is None else page[0]


def with_pages(images: Sequence[StudyImage], pages: Mapping[str, int], limit: int) -> tuple[StudyImage, ...]:
    """Return a task's images with each page of their files as one, at most ``limit`` of them.

    The files share this number evenly, so that the images of a task are known from each of its files alone. Of more
    pages evenly spaced ones are taken, the first and the last among them. Where there is less than two for each file,
    files stay one image each.

    Parameters
    ----------
    images
        As the task's data names them.
    pages
        How many pages the files at some addresses have.
    limit
        IMAGES_PER_TASK.
    """
    counts = [pages.get(image.uri, 1) for image in images]
    most = limit // max(1, len(images))
    if most < 2 or max(counts, default=1) < 2:
        return tuple(images)
    found: list[StudyImage] = []
    more, every = 0, sum(counts) - len(counts)
    for image, count in zip(images, counts, strict=True):
        addresses = {at: f"{PAGE}{at}/{count}:{image.uri}" for at in evenly_spaced(count, most)}
        own = addresses if count > 1 else {0: image.uri}
        found += [
            replace(image, position=image.position + more + at, total=image.total + every, uri=uri)
            for at, uri in own.items()
        ]
        more += count - 1
    return tuple(found)


def without_pages(images: Sequence[StudyImage]) -> tuple[tuple[StudyImage, ...], dict[str, int]]:
    """Return a task's images as its data names them, and how many pages each file has of which some stand among them.

    Parameters
    ----------
    images
        In their order, as :func:`with_pages` returns them.
    """
    pages: dict[str, int] = {}
    files: list[StudyImage] = []
    more = 0
    for image in images:
        page = page_in(image.uri)
        if page is None:
            files.append(replace(image, position=image.position - more))
        elif page[0] not in pages:
            file, at, count = page
            files.append(replace(image, position=image.position - at - more, uri=file))
            pages[file] = count
            more += count - 1
    return tuple(replace(one, total=one.total - more) for one in files), pages


def digest_of_images(digests: Iterable[str]) -> str:
    """Return what identifies the contents of a study's images, as hexadecimal digits."""
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()


def evenly_spaced(count: int, limit: int) -> list[int]:
    """Return the places of at most ``limit`` of ``count`` images: evenly spaced, the first and the last among them.

    A single one is the middle one.
    """
    if count <= limit:
        return list(range(count))
    if limit == 1:
        return [count // 2]
    return [(place * (count - 1) + (limit - 1) // 2) // (limit - 1) for place in range(limit)]
