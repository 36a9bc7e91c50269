"""Whether readers follow the published queue, and whether Label Studio still has all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clinical_backend.labelstudio.connection.checks import CONNECT, Change, CheckResult, Place, Status
from clinical_backend.text import printable
from clinical_backend.versions import author_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clinical_backend.labelstudio.client import LabelStudioClient
    from clinical_backend.labelstudio.connection.checks import Present, Wanted

__all__ = ["check_queue", "correct_model_version"]


def check_queue(present: Present, wanted: Wanted) -> Iterator[CheckResult]:
    """Check the predictions of the published queue, and that the project's model version names them."""
    missing = _check_size(present, wanted)
    named = _check_model_version(present, wanted)
    yield from (result for result in (missing, named) if result is not None)


def correct_model_version(client: LabelStudioClient, project_id: int, wanted: Wanted) -> Iterator[Change]:
    """Point the project to the published queue, and away from the backend's title, which orders nothing."""
    current, versions = client.project(project_id).model_version, client.model_versions(project_id)
    known = wanted.published if wanted.published in versions else current if current in versions else None
    if current != (known or ""):
        detail = f"Set to the published queue {known!r}" if known else "Emptied until a queue is published"
        client.update_project(project_id, model_version=known or "")
        yield Change("model version", f"{detail} (was {current!r}).")


def _check_size(present: Present, wanted: Wanted) -> CheckResult | None:
    """Compare the number of predictions, not the name of their version alone: a restored Label Studio has fewer."""
    if wanted.published is None or not wanted.queue_size or wanted.tasks != present.project.task_number:
        return None
    stored = present.versions.get(wanted.published, 0)
    if stored >= wanted.queue_size:
        return None
    return CheckResult(
        "queue",
        Status.WARNING,
        f"Of the {wanted.queue_size} predictions of the queue {wanted.published!r}, {stored} are left.",
        "Press Start Training to publish a queue.",
        place=Place.QUEUE,
        found="missing",
        needs_queue=True,
    )


def _check_model_version(present: Present, wanted: Wanted) -> CheckResult | None:
    current, published = present.project.model_version, wanted.published
    restorable = published is None or published in present.versions  # otherwise a queue is published anew
    known = current in present.versions
    if current == (published or "") and (known or not current):
        return None
    status, deliberate = Status.ERROR, False
    if not current:
        message = "The model version was emptied: the order is random."
    elif not known:
        message = f"The model version is {printable(current)!r}, which names no predictions: the order is random."
    elif published is None:
        return None  # what was there before stays until a queue is published
    else:
        status, deliberate = Status.WARNING, author_of(current) is None or current in wanted.chosen
        message = f"Readers follow the predictions {printable(current)!r}, not the published queue {published!r}."
    return CheckResult(
        "queue",
        status,
        message,
        f"{CONNECT.format(project=present.project.id)} Or press Start Training to publish a queue.",
        place=Place.MODEL_VERSION if restorable or deliberate else None,
        found=current,
        deliberate=deliberate,
        repair=correct_model_version if restorable else _empty_model_version,
        needs_queue=not restorable,
    )


def _empty_model_version(client: LabelStudioClient, project_id: int, _: Wanted) -> Iterator[Change]:
    client.update_project(project_id, model_version="")
    yield Change("model version", "Emptied until a queue is published.")
