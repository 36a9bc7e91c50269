"""What a source of DICOM objects yields: one object after the other, read only when it is needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydicom import Dataset

    from clinical_backend.archive.header import Header

__all__ = ["Found", "PassedOver", "Source"]


@dataclass(frozen=True, slots=True)
class Found:
    """An object of an archive.

    Attributes
    ----------
    name
        Where it lies, for the person who imports it. It may name the patient: it is printed, and never logged.
    header
        What it says of itself.
    """

    name: str
    header: Header


@dataclass(frozen=True, slots=True)
class PassedOver:
    """Something that is not imported.

    Attributes
    ----------
    name
        As of :class:`Found`.
    reason
        For people.
    """

    name: str
    reason: str


class Source(Protocol):
    """A place that holds DICOM objects: folders and files, or a server."""

    def find(self) -> Iterator[Found | PassedOver]:
        """Yield what there is, with bounded memory, in an order that is the same each time."""

    def read(self, found: Found) -> bytes:
        """Return the whole object, at most the source's limit of bytes; safe to call from several threads.

        Raises
        ------
        ArchiveError
            When it cannot be had. The message names no patient.
        """

    def describe(self, found: Found) -> Dataset:
        """Return all that an object says, without its pixels; patient data among it.

        Raises
        ------
        ArchiveError
            When it cannot be had. The message names no patient.
        """
