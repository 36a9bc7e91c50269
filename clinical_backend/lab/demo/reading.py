"""A simulated reader: tags three exemplars, then annotates what Label Studio serves, by the true labels."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from clinical_backend.errors import ClinicalError
from clinical_backend.lab.servers.simulated_reader import SimulatedReader
from clinical_backend.labelstudio.labeling.scheme import MORE_LIKE_THIS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from clinical_backend.lab.servers.backend_server import BackendServer
    from clinical_backend.lab.servers.label_studio_admin import LabelStudioAdmin

__all__ = ["Outcome", "read_project", "settled", "wait_for_round", "wait_until_settled"]

_ROUND_SECONDS = 600.0
_IDLE_SECONDS = 5.0
"""Longest wait for a round, so that only a hang ends; without a round due for so long, none will come. Not measured."""
CLASS_CONTROL = "diagnosis"


@dataclass
class Outcome:
    """What the reader met.

    Attributes
    ----------
    found
        Rare cases met after each label, exemplars not counted.
    rounds
        Number of the round that served each label.
    waited
        Seconds that the reader waited for new queues.
    """

    found: list[int] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)
    waited: float = 0.0


def read_project(
    client: LabelStudioAdmin,
    backend: BackendServer,
    project_id: int,
    truth: Mapping[int, str],
    rare: str,
    *,
    exemplars: int,
    labels: int,
    batch: int,
    progress: Callable[[Outcome, str], None],
    reader: SimulatedReader | None = None,
) -> Outcome:
    """Tag exemplars and annotate tasks in the order that Label Studio serves them.

    Parameters
    ----------
    truth
        Class by task.
    rare
        The rare class.
    exemplars
        How many known cases of it the reader searches out and tags first.
    labels
        How many tasks the reader then annotates.
    batch
        After so many the reader waits for the new queue, so that the outcome does not hang on the speed
        of the machine.
    progress
        Called after each label with the outcome so far and the class that was met.
    reader
        Who reads; by default one with the token of the client.
    """
    reader = reader or SimulatedReader(client)
    outcome = Outcome()
    wait_for_round(backend, project_id, 0)
    known = sorted(task for task, name in truth.items() if name == rare)[:exemplars]
    for case in known:
        reader.annotate(case, {CLASS_CONTROL: [rare], "exemplar": [MORE_LIKE_THIS]})
    number = _wait_for_labels(backend, project_id, len(known), len(known), outcome)
    while len(outcome.found) < labels:
        task = reader.next(project_id)
        if task is None:
            break
        name = truth[task.id]
        reader.annotate(task, {CLASS_CONTROL: [name]})
        outcome.found.append((outcome.found[-1] if outcome.found else 0) + (name == rare))
        outcome.rounds.append(number)
        progress(outcome, name)
        if len(outcome.found) % batch == 0 and len(outcome.found) < labels:
            seen = len(known) + len(outcome.found)
            number = _wait_for_labels(backend, project_id, len(known), seen, outcome)
    return outcome


def wait_for_round(backend: BackendServer, project_id: int, after: int, *, labels: int = 0, exemplars: int = 0) -> int:
    """Wait until a later round is published that knows so many labels, and return its number.

    Raises
    ------
    ClinicalError
        When none comes in time, with what the backend says is wrong.
    """
    deadline = time.monotonic() + _ROUND_SECONDS
    while time.monotonic() < deadline:
        status = backend.status(project_id)
        latest = status and status["round"]
        if latest and latest["state"] == "published" and latest["number"] > after:
            counts = latest["counts"]
            if counts["labelled"] >= labels and counts["exemplars"] >= exemplars:
                number: int = latest["number"]
                return number
        time.sleep(0.1)
    raise _no_round(backend, project_id)


def settled(backend: BackendServer, project_id: int) -> dict[str, Any] | None:
    """Return what the backend says of a project of which no round is due or running; ``None`` while one is."""
    status = backend.status(project_id) or {}
    published = (status.get("round") or {}).get("state") == "published"
    return status if published and not status["round_due"] else None


def wait_until_settled(backend: BackendServer, project_id: int) -> dict[str, Any]:
    """Wait until no round is due or running, and return what the backend says of the project.

    Raises
    ------
    ClinicalError
        When rounds do not come to rest in time, with what the backend says is wrong.
    """
    deadline = time.monotonic() + _ROUND_SECONDS
    while time.monotonic() < deadline:
        if (status := settled(backend, project_id)) is not None:
            return status
        time.sleep(0.1)
    raise _no_round(backend, project_id)


def _wait_for_labels(backend: BackendServer, project_id: int, exemplars: int, labels: int, outcome: Outcome) -> int:
    """Wait for the queue that knows these labels, and return its round.

    A round that began in the midst of a batch leaves too few new labels for the next one to be due. The
    reader then goes on with the queue as it is.
    """
    started = time.monotonic()
    idle_since: float | None = None
    while time.monotonic() - started < _ROUND_SECONDS:
        status = settled(backend, project_id)
        idle_since = None if status is None else idle_since or time.monotonic()
        if status is not None and idle_since is not None:
            latest = status["round"]
            known = latest["counts"]["labelled"] >= labels and latest["counts"]["exemplars"] >= exemplars
            if known or time.monotonic() - idle_since > _IDLE_SECONDS:
                outcome.waited += time.monotonic() - started
                return int(latest["number"])
        time.sleep(0.1)
    raise _no_round(backend, project_id)


def _no_round(backend: BackendServer, project_id: int) -> ClinicalError:
    problem = (backend.status(project_id) or {}).get("problem") or "It gives no reason."
    return ClinicalError(f"No round was published in {_ROUND_SECONDS:.0f} s. {problem}", f"See {backend.log}.")
