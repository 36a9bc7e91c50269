"""Tasks that something is wrong with, as text, CSV or JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from clinical_backend.storage.stores.troubles import Trouble, TroubleKind
from clinical_backend.text import csv_row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["said", "write_troubles"]

_COLUMNS = ("task", "kind", "reason", "since", "link")


def said(trouble: Trouble) -> str:
    """Return what is wrong, as a sentence."""
    if trouble.kind is TroubleKind.REPLACED:
        return f"The image was replaced after it was labelled {trouble.reason}: the label stays."
    return trouble.reason


def write_troubles(project: ProjectWorkspace, form: Literal["text", "csv", "json"], label_studio: str) -> Iterator[str]:
    """Yield the tasks of a project that something is wrong with, piece by piece.

    Parameters
    ----------
    project
        The project.
    form
        ``text`` for people; ``csv`` with a heading; ``json`` is a list of objects with the same names.
    label_studio
        Its root, as browsers reach it.
    """
    begun = False
    for trouble in project.stores.troubles.all(project.id):
        since = None if trouble.since is None else datetime.fromtimestamp(trouble.since, UTC).isoformat("T", "seconds")
        link = f"{label_studio}/projects/{project.id}/data?task={trouble.task_id}"
        values = (trouble.task_id, trouble.kind.value, said(trouble), since, link)
        if form == "text":
            yield f"Task {trouble.task_id}: {said(trouble)}\n    {link}\n"
        elif form == "csv":
            yield from () if begun else [csv_row(_COLUMNS)]
            yield csv_row(values)
        else:
            separator = ",\n" if begun else "[\n"
            yield separator + json.dumps(dict(zip(_COLUMNS, values, strict=True)))
        begun = True
    if not begun:
        yield {"text": "No task is left out.\n", "csv": csv_row(_COLUMNS), "json": "[]\n"}[form]
    elif form == "json":
        yield "\n]\n"
