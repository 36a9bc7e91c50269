"""Labels as a table: what each column holds, and how it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from clinical_backend.archive.pseudonyms import Pseudonyms
from clinical_backend.multilabel import findings_of, is_multilabel, says, unknown_of
from clinical_backend.rounds.audit import read_draws
from clinical_backend.text import csv_row

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from clinical_backend.handover.delivery import Delivery
    from clinical_backend.handover.records import Collection, Record
    from clinical_backend.origins import LedgerEntry
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["Cells", "Table", "cells_of", "heading", "row_of", "stored_table"]

Cells: TypeAlias = "dict[str, object]"

_TOLD_ELSEWHERE = frozenset({"label", "split", "image"})
_ORIGIN = ("origin", "draw", "round", "readings", "shown_prediction")
_STORED = ("task", "label", *_ORIGIN, "group", "sha256", "weight")


def heading(collection: Collection) -> tuple[str, ...]:
    """Return the names of the columns: those of the data's fields and of findings say so before a colon."""
    findings = [f"finding:{name}" for name in collection.classes] if collection.has_findings else []
    columns = ("task", "label", *findings, *_ORIGIN, "readers", "agreement")
    images = ("image",) if _has_images(collection) else ()
    fields = [f"data:{name}" for name in collection.options.fields]
    return (*columns, "group", "sha256", "split", "weight", *images, *fields)


def row_of(collection: Collection, record: Record, image: str | None = None) -> tuple[object, ...]:
    """Return the cells of a record, as :func:`heading` names them."""
    entry = record.entry
    findings = [_said(entry.label, name) for name in collection.classes] if collection.has_findings else []
    images = (image,) if _has_images(collection) else ()
    return (
        entry.task_id,
        entry.label,
        *findings,
        *_origin(entry),
        " ".join(record.readers),
        record.agreement,
        record.group,
        record.digest,
        record.split,
        record.weight,
        *images,
        *record.fields.values(),
    )


def cells_of(collection: Collection, record: Record) -> Cells:
    """Return what a record says beside its label, its split and its images, by name; what it does not say is left out.

    Readers are a list.
    """
    named = dict(zip(heading(collection), row_of(collection, record), strict=True)) | {"readers": list(record.readers)}
    return {
        name: value
        for name, value in named.items()
        if value is not None and name not in _TOLD_ELSEWHERE and not name.startswith("finding:")
    }


class Table:
    """Writes ``labels.csv``, a line a task."""

    def __init__(self, delivery: Delivery, collection: Collection) -> None:
        self._collection = collection
        self._file = delivery.text("labels.csv")
        self._file.write(csv_row(heading(collection)))

    def add(self, record: Record, images: Sequence[str]) -> bool:
        """Write a record; of several images the addresses stand behind each other, with spaces between."""
        self._file.write(csv_row(row_of(self._collection, record, " ".join(filter(None, images)))))
        return True

    def finish(self) -> None:
        """Close the file."""
        self._file.close()


def stored_table(project: ProjectWorkspace) -> Iterator[str]:
    """Yield the labels of a project as the last round read them, as lines of CSV; Label Studio is not asked."""
    ledger = project.stores.labels.ledger(project.id)
    weights = read_draws(project, ledger).weights()
    groups, digests = project.stores.images.groups(project.id), project.digests()
    pseudonyms = Pseudonyms(project.workspace.settings.model_dir)
    yield csv_row(_STORED)
    for entry in ledger:
        group = groups.get(entry.task_id)
        yield csv_row(
            (
                entry.task_id,
                entry.label,
                *_origin(entry),
                None if group is None else pseudonyms.of("group", group),
                digests.get(entry.task_id),
                weights.get(entry.task_id),
            )
        )


def _origin(entry: LedgerEntry) -> tuple[object, ...]:
    """Return how a label came about, as ``_ORIGIN`` names it."""
    return (
        entry.origin.value,
        entry.draw and entry.draw.value,
        entry.round_number,
        entry.readings,
        entry.shown_prediction,
    )


def _has_images(collection: Collection) -> bool:
    """Tell whether a column names images; Hugging Face's loader names them itself, and calls theirs so."""
    return collection.options.images != "none" and collection.options.form != "imagefolder"


def _said(label: str, name: str) -> int | None:
    """Return 1 where a label says that a finding is there, 0 where not, ``None`` where it says nothing of it."""
    if not is_multilabel(label):
        return int(name in findings_of(label))
    return None if name in unknown_of(label) else int(bool(says(label, name)))
