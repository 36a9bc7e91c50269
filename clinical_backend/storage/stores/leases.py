"""Leases: who works at a project, for as long as it shows that it does.

A lease is a row with a number, the token, that grows each time the project passes to another. Its holder counts signs
of life up. Whoever sees the count stand still for too long takes the project away, by the next token; and each
transaction of a holder looks first whether its token is still the one that counts. So a process that was stopped may
wake up whenever it likes: it can change nothing any more. No clocks are compared: each observer measures the silence
by a clock of its own that nobody sets.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete, select, update

from clinical_backend.errors import RoundAbandonedError
from clinical_backend.storage.database import fenced
from clinical_backend.storage.schema import Project, ProjectLease
from clinical_backend.storage.statements import insert_if_missing
from clinical_backend.system.processes import end_if_stopped, has_ended, this_process

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from sqlalchemy.orm import Session

    from clinical_backend.storage.database import Database

__all__ = ["LeaseStore"]

_LONGEST_LOOK = 2.0
"""Seconds that count at most between two looks: while the observer itself stood still, it saw no silence."""


@dataclass(slots=True)
class _Watched:
    """A lease as an observer saw it last, and for how long it has seen no sign of life."""

    sign: tuple[int, int]
    seen_at: float
    silent: float = 0.0


class LeaseStore:
    """Takes, renews and ends the leases of projects."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._watched: dict[int, _Watched] = {}
        self._watching = threading.Lock()

    def take(self, project_id: int) -> int | None:
        """Take a project that nobody works at, or whose holder died on this machine; return the token.

        Returns
        -------
        int or None
            ``None`` while another holds it.
        """
        with self._database.read() as session:
            known = session.get(ProjectLease, project_id)
        if known is not None and known.holder is not None and not has_ended(known.holder):
            return None
        token = 0 if known is None else known.token
        now = time.time()
        taken = {"token": token + 1, "holder": this_process(), "signs": 0, "sign_at": now, "progress_at": now}
        with fenced(None), self._database.write() as session:
            insert_if_missing(session, ProjectLease, {"project_id": project_id, "token": 0, "signs": 0})
            same = ProjectLease.project_id == project_id, ProjectLease.token == token
            return session.scalar(update(ProjectLease).where(*same).values(taken).returning(ProjectLease.token))

    def renew(self, project_id: int, token: int, *, idle_seconds: float) -> bool:
        """Give a sign of life, and say how long ago the work last got on; tell whether the lease is still held."""
        now = time.time()
        signs = {"signs": ProjectLease.signs + 1, "sign_at": now, "progress_at": now - idle_seconds}
        return self._change(project_id, token, signs)

    def give_back(self, project_id: int, token: int) -> None:
        """End a lease, unless another has the project already."""
        self._change(project_id, token, {"holder": None})

    def end_silent(self, seconds: float) -> list[int]:
        """Take away the projects of holders that gave no sign of life for so long, for anybody to take.

        A holder that is stopped on this machine is ended, lest it hold a lock of the database, too. To be called every
        second or so: the silence is what this observer has seen itself.
        """
        with self._database.read() as session:
            held = session.scalars(select(ProjectLease).where(ProjectLease.holder.is_not(None))).all()
        silent = [lease for lease in held if self._silence(lease) >= seconds]
        with self._watching:
            projects = {lease.project_id for lease in held}
            self._watched = {key: known for key, known in self._watched.items() if key in projects}
        ended = []
        for lease in silent:
            if lease.holder is not None:
                end_if_stopped(lease.holder)
            if self._change(lease.project_id, lease.token, {"holder": None, "token": lease.token + 1}):
                ended.append(lease.project_id)
        return ended

    def of(self, project_id: int) -> ProjectLease | None:
        """Return the lease of a project, as it was last changed; ``None`` where nobody ever worked at it."""
        with self._database.read() as session:
            return session.get(ProjectLease, project_id)

    def discard(self) -> None:
        """Delete leases that nobody holds of projects that are not served."""
        served = select(Project.id)
        unused = delete(ProjectLease).where(ProjectLease.holder.is_(None), ProjectLease.project_id.not_in(served))
        with self._database.write() as session:
            session.execute(unused)

    def fence(self, project_id: int, token: int) -> AbstractContextManager[None]:
        """Refuse, within the block, every transaction of this thread once the lease has passed to another."""

        def check(session: Session, *, lock: bool) -> None:
            query = select(ProjectLease.token).where(ProjectLease.project_id == project_id)
            # Shared: who would take the lease away waits for the end of the transaction.
            if session.scalar(query.with_for_update(read=True) if lock else query) != token:
                raise RoundAbandonedError(
                    f"Project {project_id} was passed on to another worker: this one was silent for too long.",
                    "Nothing is to be done: what is due is run again.",
                )

        return fenced(check)

    def _change(self, project_id: int, token: int, values: dict[str, object]) -> bool:
        same = ProjectLease.project_id == project_id, ProjectLease.token == token
        changed = update(ProjectLease).where(*same, ProjectLease.holder.is_not(None)).values(values)
        with fenced(None), self._database.write() as session:
            return session.scalar(changed.returning(ProjectLease.project_id)) is not None

    def _silence(self, lease: ProjectLease) -> float:
        now = time.monotonic()
        with self._watching:
            known = self._watched.get(lease.project_id)
            sign = lease.token, lease.signs
            if known is None or known.sign != sign:
                known = self._watched[lease.project_id] = _Watched(sign, now)
            known.silent += min(now - known.seen_at, _LONGEST_LOOK)
            known.seen_at = now
            return known.silent
