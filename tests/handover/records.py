"""Records as a project would give them, without a project."""

from __future__ import annotations

from types import SimpleNamespace

from clinical_backend.handover.export_options import ExportOptions
from clinical_backend.handover.records import Record
from clinical_backend.origins import Draw, LedgerEntry, Origin
from clinical_backend.study import StudyImage


def collection(form, images, *, classes=("dark", "red"), fields=(), findings=False, **more):
    return SimpleNamespace(options=ExportOptions(form, images, fields), classes=classes, has_findings=findings, **more)


def record(task, label="dark", split="train", *, images=1, views=None, **told):
    """Return one that was drawn at random, or with what is told otherwise."""
    drawn = told.pop("drawn", True)
    entry = LedgerEntry(
        task,
        label,
        Origin.QUEUE if drawn else Origin.IMPORTED,
        Draw.AUDIT if drawn else None,
        1 if drawn else None,
        1,
    )
    views = views or [""] * images
    shown = tuple(StudyImage(place, len(views), view, f"http://host/{place}.png") for place, view in enumerate(views))
    given = {"readers": ("a",), "agreement": None, "group": None, "digest": "0" * 64, "weight": 2.0} | told
    return Record(entry, split=split, images=shown, **given)
