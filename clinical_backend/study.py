"""Studies: tasks with several images. Which images they are, and what identifies them together."""

from __future__ import annotations

import hashlib
import json
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["IMAGES_PER_TASK", "STUDY", "StudyImage", "address_of_images", "digest_of_images", "evenly_spaced"]

STUDY = "study:"
"""What stands before the sha256 of its images' addresses where a single image has its address."""

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


def address_of_images(images: Sequence[StudyImage]) -> str:
    """Return what stands for the addresses of a task's images: that of a single one itself; empty for none."""
    if len(images) <= 1:
        return images[0].uri if images else ""
    text = json.dumps([astuple(image) for image in images], ensure_ascii=True, separators=(",", ":"))
    return f"{STUDY}{hashlib.sha256(text.encode()).hexdigest()}"


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
