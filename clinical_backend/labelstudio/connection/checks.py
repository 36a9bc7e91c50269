"""What a check of a project's connection says: what is so, what cures it, and how the backend repairs it itself."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from clinical_backend.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from clinical_backend.errors import ClinicalError
    from clinical_backend.labelstudio.client import LabelStudioClient
    from clinical_backend.labelstudio.connection.installation import Installation
    from clinical_backend.labelstudio.resources import Backend, Project, Webhook

__all__ = ["ADDRESS_CURE", "CONNECT", "Change", "CheckResult", "Place", "Present", "Status", "Wanted", "listed"]

CONNECT = "Run `clinical connect --project {project}`."
ADDRESS_CURE = (
    "Give Label Studio's own process LABEL_STUDIO_ML_BLOCK_LOCAL_IP=false and"
    " LABEL_STUDIO_SSRF_PROTECTION_ENABLED=false and restart it, or give the backend a public address."
    " Both are needed for loopback, private and compose-network addresses."
)
_LISTED = 3
"""Addresses that a sentence can hold."""


class Status(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    """The loop runs, but not as it could."""
    ERROR = "error"
    """The loop does not run."""


class Place(StrEnum):
    """What this backend set in a project."""

    SAMPLING = "sampling"
    SHOWN = "predictions shown"
    MODEL_VERSION = "model version"
    QUEUE = "queue"
    """The predictions of the published queue."""
    WEBHOOK = "webhook"
    ENTRY = "backend"
    CONNECTION = "connection"
    """Entry and webhook: both are gone."""


@dataclass(frozen=True, slots=True)
class Change:
    """One step of connecting or repairing.

    Attributes
    ----------
    setting
        What it is about.
    detail
        What was done, or what a person should do, as a sentence.
    made
        Whether it was done; otherwise it is advice.
    """

    setting: str
    detail: str
    made: bool = True

    def __str__(self) -> str:
        return f"{self.setting}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Present:
    """What there is in a project.

    Attributes
    ----------
    entries
        Its backends; ``None`` where they were not read.
    versions
        How many predictions of each version it holds.
    """

    project: Project
    hooks: Sequence[Webhook]
    entries: Sequence[Backend] | None
    versions: Mapping[str, int] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What this backend sets in a project.

    Attributes
    ----------
    backend_url
        Address of this backend as Label Studio reaches it.
    basic_auth
        User and password that this backend asks for.
    installation
        This installation, with all that it published in the project; without it no other one is looked for.
    published
        Version of the published queue; ``None`` before the first.
    chosen
        Versions of queues that were published to readers: somebody may have gone back to one of these by hand.
    queue_size
        How many tasks of the published queue there are still; ``None`` where that is not known.
    tasks
        How many tasks the project had then: where some came or went since, the queue's size says nothing.
    """

    backend_url: str
    basic_auth: tuple[str, str] | None = None
    installation: Installation | None = None
    published: str | None = None
    chosen: frozenset[str] = frozenset()
    queue_size: int | None = None
    tasks: int = 0


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The outcome of one check.

    Attributes
    ----------
    check
        What was looked at.
    status
        How it ended.
    message
        What is so, as a sentence.
    cure
        What a person can do about it; empty where nothing needs doing.
    place
        Where the project differs from what this backend set there; ``None`` where it does not.
    found
        What is there instead, to be told from other things that may be there later.
    deliberate
        Whether a person may have chosen it: then it is asked about. Otherwise it has no other explanation than a slip,
        a restored backup or Label Studio itself, and is repaired.
    repair
        Sets it as it should be, given a client, the project's id and what is wanted.
    needs_queue
        Whether it takes a new queue, which only a round can publish.
    """

    check: str
    status: Status
    message: str
    cure: str = ""
    place: Place | None = None
    found: str = ""
    deliberate: bool = False
    repair: Callable[[LabelStudioClient, int, Wanted], Iterable[Change]] | None = None
    needs_queue: bool = False

    def __str__(self) -> str:
        return f"{self.message} {self.cure}" if self.cure else self.message

    @classmethod
    def failed(cls, check: str, error: ClinicalError) -> CheckResult:
        """Return what is said of a check that an error ended."""
        return cls(check, Status.ERROR, error.problem, error.cure)

    def unless_left(self, left: Collection[str]) -> CheckResult:
        """Return it milder, where the lead leaves that place as it is."""
        if self.status is Status.OK or self.place not in left:
            return self
        message = f"{self.message} It was left so on the project's page."
        return replace(self, status=Status.WARNING, message=message)


def listed(entries: Iterable[Backend]) -> str:
    """Return the addresses of a project's backends, in words."""
    return ", ".join(sorted(printable(entry.url) for entry in entries)[:_LISTED]) or "none"
