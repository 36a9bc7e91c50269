"""What differs in a project from what this backend set there, and whether a person may have meant it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from clinical_backend.labelstudio.authentication import basic_authorization
from clinical_backend.labelstudio.connection.installation import claim_of
from clinical_backend.labelstudio.connection.wiring import SAMPLING
from clinical_backend.labelstudio.urls import same_url, webhook_url
from clinical_backend.text import shown
from clinical_backend.versions import author_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from clinical_backend.labelstudio.connection.installation import Installation
    from clinical_backend.labelstudio.records import Backend, Project, Webhook

__all__ = ["Difference", "Place", "Present", "Wanted", "find_differences"]


class Place(StrEnum):
    """Where a project differs."""

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
class Difference:
    """One difference.

    Attributes
    ----------
    place
        Where it is.
    found
        What is there instead, to be told from other things that may be there later.
    evidence
        What is so, in a sentence.
    deliberate
        Whether a person may have chosen it: then it is asked about. Otherwise it has no other explanation than a slip,
        a restored backup or Label Studio itself, and is repaired.
    """

    place: Place
    found: str
    evidence: str
    deliberate: bool = False


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
    """What this backend set.

    Attributes
    ----------
    backend_url, basic_auth
        Its address and login, as in :func:`connect`.
    installation
        This installation, with all that it published in the project.
    published
        Version of the published queue; ``None`` before the first.
    chosen
        Versions of queues that were published to readers: somebody may have gone back to one of these by hand.
    queue_size
        How many tasks of the published queue there are still; ``None`` where tasks came or went meanwhile.
    """

    backend_url: str
    basic_auth: tuple[str, str] | None
    installation: Installation
    published: str | None
    chosen: frozenset[str] = frozenset()
    queue_size: int | None = None


def find_differences(present: Present, wanted: Wanted) -> list[Difference]:
    """Compare a project with what this backend set there."""
    return [
        *_connection(present, wanted),
        *_settings(present),
        *_queue(present, wanted),
        *_model_version(present, wanted),
    ]


def _connection(present: Present, wanted: Wanted) -> Iterator[Difference]:
    address = webhook_url(wanted.backend_url)
    hooks = sorted((hook for hook in present.hooks if same_url(hook.url, address)), key=lambda hook: hook.id)
    entries = present.entries
    entered = entries is None or any(same_url(entry.url, wanted.backend_url) for entry in entries)
    others = ", ".join(sorted(shown(entry.url) for entry in entries or ())[:3]) or "none"
    if not hooks and not entered:
        text = f"The backend and its webhook were removed from the project in Label Studio (it has: {others})."
        yield Difference(Place.CONNECTION, others, text, deliberate=True)
        return
    if not entered:
        text = (
            f"The backend at {wanted.backend_url} was removed from the project under Settings > Model (left: {others})."
        )
        yield Difference(Place.ENTRY, others, text, deliberate=True)
    if not hooks and entries is not None:  # otherwise both may be gone
        yield Difference(Place.WEBHOOK, "none", f"The webhook to {address} was deleted.")
    elif hooks and (wrong := _wrong_with(hooks[0], wanted)):
        yield Difference(Place.WEBHOOK, wrong, f"The webhook to {address} {wrong}.")
    elif len(hooks) > 1:
        yield Difference(Place.WEBHOOK, "twice", f"{len(hooks)} webhooks went to {address}.")


def _wrong_with(hook: Webhook, wanted: Wanted) -> str | None:
    login = next((value for key, value in hook.headers.items() if key.lower() == "authorization"), None)
    if not hook.is_active:
        return "was switched off"
    if not (hook.send_payload and hook.send_for_all_actions):
        return "did not send all events, or not what they are about"
    if login != (None if wanted.basic_auth is None else basic_authorization(*wanted.basic_auth)):
        return "did not bear this backend's login"
    if claim_of(hook) != wanted.installation.id:
        return "did not bear the id of this installation"
    return None


def _settings(present: Present) -> Iterator[Difference]:
    project = present.project
    if project.sampling != SAMPLING:
        text = f"The sampling was changed to {project.sampling!r}: readers are not served the queue."
        yield Difference(Place.SAMPLING, project.sampling, text, deliberate=True)
    if not project.show_collab_predictions:
        text = "Predictions were hidden from readers, and with them the reasons and what PREANNOTATE ticks."
        yield Difference(Place.SHOWN, "hidden", text, deliberate=True)


def _queue(present: Present, wanted: Wanted) -> Iterator[Difference]:
    """Compare the number of predictions, not the name of their version alone: a restored Label Studio has fewer."""
    if wanted.published is None or not wanted.queue_size:
        return
    stored = present.versions.get(wanted.published, 0)
    if stored < wanted.queue_size:
        text = f"Of the {wanted.queue_size} predictions of the queue {wanted.published!r}, {stored} were left."
        yield Difference(Place.QUEUE, "missing", text)


def _model_version(present: Present, wanted: Wanted) -> Iterator[Difference]:
    current, published = present.project.model_version, wanted.published
    if current == (published or ""):
        return
    restorable = published is None or published in present.versions  # otherwise it is published anew
    if not current and restorable:
        yield Difference(Place.MODEL_VERSION, "", "The model version was emptied: the order was random.")
    elif current not in present.versions and restorable:
        text = f"The model version was {shown(current)!r}, which names no predictions: the order was random."
        yield Difference(Place.MODEL_VERSION, current, text)
    elif published is None or current not in present.versions:
        return  # what was there before stays until a queue is published
    elif author_of(current) is None or current in wanted.chosen:
        text = f"The model version was changed to {shown(current)!r}: readers follow those predictions, not the queue."
        yield Difference(Place.MODEL_VERSION, current, text, deliberate=True)
    elif restorable:
        text = f"The model version was {shown(current)!r}, which is not the published queue."
        yield Difference(Place.MODEL_VERSION, current, text)
