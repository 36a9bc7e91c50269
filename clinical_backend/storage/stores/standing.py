"""For how long nothing has happened to what should go on: rounds that run, and those that are due."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from clinical_backend.storage.schema import Project, ProjectLease, Round, RoundState
from clinical_backend.storage.stores.projects import wait_left

if TYPE_CHECKING:
    from clinical_backend.storage.database import Database

__all__ = ["RunningRound", "Standing", "standings"]


@dataclass(frozen=True, slots=True)
class RunningRound:
    """A round that runs, as far as is known.

    Attributes
    ----------
    number, stage
        Which one, and where it is.
    silent
        Seconds since its worker gave a sign of life.
    idle
        Seconds since its work got on.
    holder
        The process that runs it; ``None`` where none holds the project.
    """

    number: int
    stage: str
    silent: float
    idle: float
    holder: str | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """What a project waits for: its running round, and the seconds that a round has been due, 0 while none is."""

    running: RunningRound | None
    due: float


def standings(database: Database) -> dict[int, Standing]:
    """Return where each project stands. A time that lies ahead, by a clock that was wrong, counts as now."""
    now = time.time()

    def since(moment: float) -> float:
        return max(0.0, now - moment)

    with database.read() as session:
        projects = session.scalars(select(Project)).all()
        leases = {lease.project_id: lease for lease in session.scalars(select(ProjectLease))}
        rounds = session.scalars(select(Round).where(Round.state == RoundState.RUNNING).order_by(Round.number)).all()
    running = {}
    for row in rounds:
        lease = leases.get(row.project_id)
        silent = since((lease.sign_at if lease is not None else None) or row.started_at)
        idle = since((lease.progress_at if lease is not None else None) or row.started_at)
        holder = None if lease is None else lease.holder
        running[row.project_id] = RunningRound(row.number, row.stage, silent, idle, holder)
    found = {}
    for project in projects:
        due = 0.0
        if project.request is not None and not wait_left(project.not_before, now):
            due = min(since(project.requested_at or now), since(project.not_before))
        found[project.id] = Standing(running.get(project.id), due)
    return found
