"""Images from outside each project that stand for its findings: pixels and features, in the database alone."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import delete, func, select

from clinical_backend.errors import InvalidArgumentError
from clinical_backend.storage.schema import OutsideExemplar
from clinical_backend.storage.stores.projects import locked_project
from clinical_backend.storage.trail import TrailAction, note_action

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from clinical_backend.storage.database import Database

__all__ = ["MOST_EXEMPLARS", "KeptExemplar", "NewExemplar", "OutsideExemplarStore"]

MOST_EXEMPLARS = 50
"""Of a project. Together they count for one own case (``strategy.outside``), so that many more add little; of images of
1,024 pixels a side they take some 150 MB at most."""

_FLOATS = np.dtype("<f4")


@dataclass(frozen=True, slots=True)
class NewExemplar:
    """An image that is to stand for a finding.

    Attributes
    ----------
    name
        Of its file, or of what it was taken of.
    digest
        sha256 of its bytes.
    pixels
        The square that a backbone takes, as PNG.
    """

    name: str
    digest: str
    pixels: bytes


@dataclass(frozen=True, slots=True)
class KeptExemplar:
    """An exemplar from outside, without what is large.

    Attributes
    ----------
    id
        Its number, which no other ever has.
    finding
        What it stands for.
    name, note
        What it was called, and what was said of it.
    digest
        sha256 of its bytes.
    added_by, added_at
        Who gave it, and when, in seconds since the epoch.
    keeps_pixels, has_pixels
        Whether its pixels are to be kept, and whether they are there.
    backbone
        Key of what made its feature; ``None`` where none is made yet.
    """

    id: int
    finding: str
    name: str
    note: str
    digest: str
    added_by: str
    added_at: float
    keeps_pixels: bool
    has_pixels: bool
    backbone: str | None

    def steers_with(self, backbone: str) -> bool:
        """Tell whether it has a feature of this backbone, or what one is made of."""
        return self.has_pixels or self.backbone == backbone


class OutsideExemplarStore:
    """Reads and changes the exemplars from outside of each project."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self, project_id: int) -> list[KeptExemplar]:
        """Return those of a project, the newest first."""
        row = OutsideExemplar
        columns = (
            row.id,
            row.finding,
            row.name,
            row.note,
            row.digest,
            row.added_by,
            row.added_at,
            row.keeps_pixels,
            row.pixels.is_not(None).label("has_pixels"),
            row.backbone,
        )
        query = select(*columns).where(row.project_id == project_id).order_by(row.id.desc())
        with self._database.read() as session:
            return [KeptExemplar(**found) for found in session.execute(query).mappings()]

    def add(
        self, project_id: int, finding: str, images: Sequence[NewExemplar], *, by: str, note: str, keeps_pixels: bool
    ) -> list[int]:
        """Keep images for a finding of a project, and return the numbers of those that were not there yet.

        Raises
        ------
        InvalidArgumentError
            When the project would have too many. Nothing is kept then.
        """
        kept = []
        with self._database.write() as session:
            if locked_project(session, project_id) is None:
                return []
            ours = select(OutsideExemplar.digest).where(
                OutsideExemplar.project_id == project_id, OutsideExemplar.finding == finding
            )
            known = set(session.scalars(ours))
            fresh = {image.digest: image for image in images if image.digest not in known}
            counted = select(func.count()).where(OutsideExemplar.project_id == project_id)
            if len(fresh) + (session.scalar(counted) or 0) > MOST_EXEMPLARS:
                raise InvalidArgumentError(
                    "exemplars",
                    f"the project would have more than {MOST_EXEMPLARS} from outside.",
                    "Remove some, or choose the most typical ones.",
                )
            for image in fresh.values():
                row = OutsideExemplar(
                    project_id=project_id,
                    finding=finding,
                    name=image.name,
                    note=note,
                    digest=image.digest,
                    added_by=by,
                    added_at=time.time(),
                    keeps_pixels=keeps_pixels,
                    pixels=image.pixels,
                )
                session.add(row)
                session.flush()
                kept.append(row.id)
            if kept:  # files and notes may name a patient: the trail has neither
                note_action(session, TrailAction.EXEMPLARS_ADDED, project_id, finding=finding, numbers=kept)
        return kept

    def remove(self, project_id: int, number: int) -> bool:
        """Delete one with its pixels and its feature; tell whether it was there."""
        chosen = delete(OutsideExemplar).where(OutsideExemplar.project_id == project_id, OutsideExemplar.id == number)
        with self._database.write() as session:
            finding = session.scalar(chosen.returning(OutsideExemplar.finding))
            if finding is not None:
                note_action(session, TrailAction.EXEMPLAR_REMOVED, project_id, finding=finding, number=number)
            return finding is not None

    def pixels(self, project_id: int, number: int) -> bytes | None:
        """Return the pixels of one as PNG; ``None`` where they are not kept, or it is not there."""
        query = select(OutsideExemplar.pixels).where(
            OutsideExemplar.project_id == project_id,
            OutsideExemplar.id == number,
        )
        with self._database.read() as session:
            return session.scalar(query)

    def features(self, project_id: int, backbone: str, dimension: int) -> dict[int, NDArray[np.float32]]:
        """Return the feature of each that has one of this backbone, shape (d,), float32; damaged ones are left out."""
        query = select(OutsideExemplar.id, OutsideExemplar.feature).where(
            OutsideExemplar.project_id == project_id,
            OutsideExemplar.backbone == backbone,
            OutsideExemplar.feature.is_not(None),
        )
        with self._database.read() as session:
            kept = [(number, values or b"") for number, values in session.execute(query.order_by(OutsideExemplar.id))]
        size = dimension * _FLOATS.itemsize
        whole = {
            number: np.frombuffer(values, dtype=_FLOATS).astype(np.float32)
            for number, values in kept
            if len(values) == size
        }
        return {number: feature for number, feature in whole.items() if np.isfinite(feature).all()}

    def keep_feature(self, number: int, backbone: str, feature: NDArray[np.float32]) -> None:
        """Keep what a backbone made of one, in place of what another made; pixels that are not to be kept go."""
        with self._database.write() as session:
            row = session.get(OutsideExemplar, number)
            if row is not None:
                row.backbone, row.feature = backbone, feature.astype(_FLOATS).tobytes()
                if not row.keeps_pixels:
                    row.pixels = None
