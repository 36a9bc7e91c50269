"""What stands in words for the findings of each project, and where a text tower placed it among images."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import delete, select

from clinical_backend.storage.schema import FindingWords
from clinical_backend.storage.stores.projects import locked_project
from clinical_backend.storage.trail import TrailAction, note_action

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from clinical_backend.storage.database import Database

__all__ = ["KeptPhrasings", "PhrasingStore"]

_FLOATS = np.dtype("<f4")


@dataclass(frozen=True, slots=True)
class KeptPhrasings:
    """What stands in words for a finding.

    Attributes
    ----------
    finding
        The finding.
    phrasings, contrasts
        What is looked for, and what it is told from.
    changed_by, changed_at
        Who said so last, and when, in seconds since the epoch.
    backbone
        Key of what placed them among images; ``None`` where that is not done yet.
    """

    finding: str
    phrasings: tuple[str, ...]
    contrasts: tuple[str, ...]
    changed_by: str
    changed_at: float
    backbone: str | None

    @property
    def texts(self) -> tuple[str, ...]:
        """All of them, in the order in which their places are kept."""
        return (*self.phrasings, *self.contrasts)


class PhrasingStore:
    """Reads and changes the words of each project."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self, project_id: int) -> list[KeptPhrasings]:
        """Return those of a project, by finding."""
        query = select(FindingWords).where(FindingWords.project_id == project_id).order_by(FindingWords.finding)
        with self._database.read() as session:
            return [_kept(row) for row in session.scalars(query)]

    def keep(
        self, project_id: int, finding: str, phrasings: Sequence[str], contrasts: Sequence[str], *, by: str
    ) -> None:
        """Keep the words of a finding, in place of those before."""
        with self._database.write() as session:
            if locked_project(session, project_id) is not None:
                session.merge(
                    FindingWords(
                        project_id=project_id,
                        finding=finding,
                        phrasings=list(phrasings),
                        contrasts=list(contrasts),
                        changed_by=by,
                        changed_at=time.time(),
                        backbone=None,
                        places=None,
                    )
                )
                counts = {"phrasings": len(phrasings), "contrasts": len(contrasts)}  # free text stays out of the trail
                note_action(session, TrailAction.WORDS_CHANGED, project_id, finding=finding, **counts)

    def remove(self, project_id: int, finding: str) -> bool:
        """Delete the words of a finding; tell whether there were any."""
        chosen = delete(FindingWords).where(FindingWords.project_id == project_id, FindingWords.finding == finding)
        with self._database.write() as session:
            there = session.execute(chosen.returning(FindingWords.finding)).first() is not None
            if there:
                note_action(session, TrailAction.WORDS_REMOVED, project_id, finding=finding)
            return there

    def placed(self, project_id: int, backbone: str) -> list[tuple[KeptPhrasings, NDArray[np.float32]]]:
        """Return those that a backbone placed, with where, shape (k, p), float32; damaged ones are left out."""
        query = select(FindingWords).where(FindingWords.project_id == project_id, FindingWords.backbone == backbone)
        found = []
        with self._database.read() as session:
            for row in session.scalars(query.order_by(FindingWords.finding)):
                words, size = _kept(row), len(row.places or b"")
                if row.places and words.texts and size % (len(words.texts) * _FLOATS.itemsize) == 0:
                    values = np.frombuffer(row.places, dtype=_FLOATS).astype(np.float32)
                    if np.isfinite(values).all():
                        found.append((words, values.reshape(len(words.texts), -1)))
        return found

    def keep_places(self, project_id: int, words: KeptPhrasings, backbone: str, places: NDArray[np.float32]) -> None:
        """Keep where a backbone placed words, unless others have taken their place meanwhile."""
        with self._database.write() as session:
            row = session.get(FindingWords, (project_id, words.finding))
            if row is not None and (*row.phrasings, *row.contrasts) == words.texts:
                row.backbone, row.places = backbone, places.astype(_FLOATS).tobytes()


def _kept(row: FindingWords) -> KeptPhrasings:
    return KeptPhrasings(
        row.finding, tuple(row.phrasings), tuple(row.contrasts), row.changed_by, row.changed_at, row.backbone
    )
