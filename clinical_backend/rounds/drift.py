"""What was changed in Label Studio beside the backend: repaired, or asked about where a person may have meant it.

A repair that does not hold is asked about too, instead of being fought over. What the lead answers is remembered until
something else is found there.
"""

from __future__ import annotations

import logging
import time
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from clinical_backend.errors import OtherModelError
from clinical_backend.labelstudio.connection.checks import Place, Present, Wanted
from clinical_backend.labelstudio.connection.doctor import check_connection
from clinical_backend.storage.schema import RoundState
from clinical_backend.versions import on_demand_version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from clinical_backend.labelstudio.connection.checks import CheckResult
    from clinical_backend.labelstudio.resources import Project, Webhook
    from clinical_backend.storage.schema import Project as ProjectRow
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = [
    "Drift",
    "answer_drift",
    "attend_drift",
    "change_drift",
    "forget_answers",
    "require_unchanged",
    "rests",
    "wanted_of",
]

logger = logging.getLogger(__name__)

_REPAIRS = 3
_REPAIRS_SECONDS = 24 * 3600.0
"""A repair that is undone so often within a day has somebody, or something, behind it."""

_TOLD = 10
"""The latest repairs, as the page lists them; by eye."""
_SEEN_WITH_ENTRIES = frozenset({Place.ENTRY, Place.CONNECTION})


@dataclass
class Drift:
    """What is known of a project's drift, as its row keeps it.

    Attributes
    ----------
    wired
        Whether all was set once: what differs from then on was changed.
    entries_read_at
        When the project's backends were read last, which Label Studio answers with a call of ``/setup``.
    asked
        What is asked about, by place: what was found, and the evidence.
    left
        What the lead leaves as it is, by place.
    restore
        What the lead wants to be put back.
    repairs
        When each place was repaired of late.
    repaired
        Repairs in all.
    told
        The last repairs: when, and what was found and done.
    """

    wired: bool = False
    entries_read_at: float = 0.0
    asked: dict[str, dict[str, str]] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    restore: list[str] = field(default_factory=list)
    repairs: dict[str, list[float]] = field(default_factory=dict)
    repaired: int = 0
    told: list[tuple[float, str]] = field(default_factory=list)

    @classmethod
    def of(cls, row: ProjectRow) -> Drift:
        """Return what a project's row keeps."""
        return cls(**deepcopy(row.drift))  # a change in place would not be seen as one

    def keep(self, row: ProjectRow) -> None:
        """Write it into a project's row."""
        row.drift = asdict(self)


def attend_drift(project: ProjectWorkspace, remote: Project, hooks: Sequence[Webhook], *, look: bool) -> None:
    """Compare a connected project with what was set there; repair, or ask.

    Parameters
    ----------
    project
        The project.
    remote, hooks
        It and its webhooks, as Label Studio has them now.
    look
        Whether to read the project's backends too.

    Raises
    ------
    ClinicalError
        When Label Studio does not answer, or refuses a repair. What was repaired until then is noted.
    """
    row = project.stores.projects.get(project.id)
    if row is None:
        return
    known = Drift.of(row)
    entries = None
    look = look or not _SEEN_WITH_ENTRIES.isdisjoint(known.restore)
    if look:
        change_drift(project, lambda drift: setattr(drift, "entries_read_at", time.time()))
        entries = project.client.backends(project.id)
    present = Present(remote, hooks, entries, project.client.model_versions(project.id))
    wanted = wanted_of(project, row)
    found = _differences(present, wanted)
    now = time.time()
    repaired: list[tuple[Place, str]] = []
    try:
        for place, difference in found.items():
            if place in known.restore or not (difference.deliberate or _comes_back(known, place, now)):
                repaired += [(place, done) for done in _repair(project, row, difference, wanted)]
    finally:
        change_drift(project, lambda drift: _note(drift, found, repaired, now, with_entries=look))
        for place, done in repaired:
            logger.warning("Project %d: %s %s", project.id, found[place].message, done)


def wanted_of(project: ProjectWorkspace, row: ProjectRow) -> Wanted:
    """Return what this backend sets in a project."""
    stores, settings = project.stores, project.workspace.settings
    published = stores.rounds.published(row.id)
    queue = [queued.task_id for queued in stores.rounds.queue(published.id)] if published else []
    ended = [version for version, state in stores.rounds.versions(row.id).items() if state is RoundState.PUBLISHED]
    return Wanted(
        settings.public_url,
        settings.basic_auth,
        project.installation,
        row.published_version,
        chosen=frozenset({*ended, *map(on_demand_version, ended)}),
        queue_size=len(stores.images.all(row.id, queue)) if published else None,
        tasks=stores.images.count(row.id),
    )


def require_unchanged(project: ProjectWorkspace) -> None:
    """Make sure, by asking Label Studio now, that a queue may be switched to.

    Raises
    ------
    InstallationError
        When another installation serves the project.
    OtherModelError
        When a person has just let readers follow another model.
    """
    remote = project.require_alone()
    row = project.row
    if row is None or not Drift.of(row).wired:
        return
    present = Present(remote, (), None, project.client.model_versions(project.id))
    chosen = _differences(present, wanted_of(project, row)).get(Place.MODEL_VERSION)
    if chosen is not None and chosen.deliberate:
        change_drift(project, lambda drift: _ask(drift, Place.MODEL_VERSION, chosen))
        raise OtherModelError(chosen.message, f"Answer on {project.page}.")


def answer_drift(project: ProjectWorkspace, place: Place, *, put_back: bool) -> bool:
    """Take the lead's answer to what was changed; tell whether it was still open."""
    open_before = False

    def change(drift: Drift) -> None:
        nonlocal open_before
        asked = drift.asked.pop(place, None)
        found = asked["found"] if asked is not None else drift.left.get(place)
        if found is None:
            return
        open_before = True
        drift.left.pop(place, None)
        if put_back:
            drift.restore = sorted({*drift.restore, place})
        else:
            drift.left[place] = found

    change_drift(project, change, answer={"place": place.value, "put_back": put_back})
    return open_before


def forget_answers(project: ProjectWorkspace) -> None:
    """Begin anew after the project was connected by command: all was set as it should be, on purpose."""

    def change(drift: Drift) -> None:
        drift.asked, drift.left, drift.restore, drift.repairs = {}, {}, [], {}
        drift.wired = True

    change_drift(project, change)


def rests(row: ProjectRow) -> str | None:
    """Return why no round is run, though one may be due; ``None`` where rounds run."""
    drift = Drift.of(row)
    changed = {*drift.asked, *drift.left}
    if Place.MODEL_VERSION in changed:
        other = drift.left.get(Place.MODEL_VERSION) or drift.asked[Place.MODEL_VERSION]["found"]
        return f"Rounds rest while readers follow the predictions {other!r}."
    if Place.QUEUE in changed:
        return "Rounds rest while predictions of the queue go missing in Label Studio."
    if Place.CONNECTION in drift.left:
        return "Rounds rest while the backend is not connected to the project."
    return None


def change_drift(
    project: ProjectWorkspace, change: Callable[[Drift], object], *, answer: Mapping[str, Any] | None = None
) -> None:
    """Change what is known of a project's drift; nobody else does so meanwhile."""

    def edit(row: ProjectRow) -> None:
        drift = Drift.of(row)
        change(drift)
        drift.keep(row)

    project.stores.projects.edit(project.id, edit, answer=answer)


def _differences(present: Present, wanted: Wanted) -> dict[Place, CheckResult]:
    return {result.place: result for result in check_connection(present, wanted) if result.place is not None}


def _comes_back(drift: Drift, place: Place, now: float) -> bool:
    return len(_recent(drift.repairs.get(place, ()), now)) >= _REPAIRS


def _recent(times: Iterable[float], now: float) -> list[float]:
    return [moment for moment in times if now - moment < _REPAIRS_SECONDS]


def _repair(project: ProjectWorkspace, row: ProjectRow, difference: CheckResult, wanted: Wanted) -> list[str]:
    """Put one thing back, and return what was done, in sentences."""
    if difference.place is Place.QUEUE and row.request is not None:
        return []  # the round that is due publishes a queue
    changes = () if difference.repair is None else difference.repair(project.client, row.id, wanted)
    done = [change.detail for change in changes if change.made]
    if not difference.needs_queue:
        return done
    project.stores.projects.request_round(row.id, "the queue was incomplete in Label Studio", delay=0.0)
    return ["A queue is published anew."]


def _note(
    drift: Drift,
    found: Mapping[Place, CheckResult],
    repaired: Sequence[tuple[Place, str]],
    now: float,
    *,
    with_entries: bool,
) -> None:
    """Bring what is known in line with what was found and done."""
    unseen = frozenset() if with_entries else _SEEN_WITH_ENTRIES
    put_right = {place for place, _ in repaired}
    present = {place: difference for place, difference in found.items() if place not in put_right}
    drift.left = {
        place: what
        for place, what in drift.left.items()
        if place in unseen or (place in present and present[Place(place)].found == what)
    }
    asked = {place: what for place, what in drift.asked.items() if place in unseen}
    for place, difference in present.items():
        if place in drift.left or place in drift.restore:
            continue
        if difference.deliberate:
            asked[place] = {"found": difference.found, "evidence": difference.message}
        elif _comes_back(drift, place, now):
            text = f"{difference.message} It was put right {_REPAIRS} times within a day, and came back."
            asked[place] = {"found": difference.found, "evidence": text}
    drift.asked = asked
    drift.repairs = {place: recent for place, times in drift.repairs.items() if (recent := _recent(times, now))}
    for place in put_right:
        if place in drift.restore:
            drift.repairs.pop(place, None)
        else:
            drift.repairs[place] = [*drift.repairs.get(place, ()), now]
    gone = {Place(place) for place in drift.restore} - present.keys() - unseen
    drift.restore = [place for place in drift.restore if place not in gone]
    drift.repaired += len(repaired)
    told: list[Any] = [(now, f"{found[place].message} {done}") for place, done in repaired]
    drift.told = [*drift.told, *told][-_TOLD:]


def _ask(drift: Drift, place: Place, difference: CheckResult) -> None:
    if drift.left.get(place) != difference.found:
        drift.asked[place] = {"found": difference.found, "evidence": difference.message}
