"""What each reader answered, kept as far as SHOW_READERS lets it be told."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from clinical_backend.storage.stores.readings import ReadingValues

if TYPE_CHECKING:
    from clinical_backend.labelstudio.labeling.labels import Labels
    from clinical_backend.settings import Settings
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["note_readers"]


def note_readers(project: ProjectWorkspace, labels: Labels, reserved: Labels, settings: Settings) -> None:
    """Bring what is kept of readers in line with the annotations; what may not be told is kept no longer.

    Parameters
    ----------
    labels
        As read back now, with each annotation of a reader unless SHOW_READERS is off.
    reserved
        Those of the test set: that they were given is work, and what they say stays with the test set.
    settings
        The project's.
    """
    every = [*labels.by_reader, *(replace(one, label=None) for one in reserved.by_reader)]
    blind = project.stores.second_readings.read_blind(project.id)
    project.stores.readings.replace(
        project.id,
        [
            ReadingValues(
                one.annotation,
                one.task,
                one.reader,
                one.label,
                one.at,
                one.lead_time,
                one.kind,
                (one.task, one.reader) in blind,
            )
            for one in every
        ],
    )
    row = project.stores.projects.get(project.id)
    known = {} if row is None else row.reader_names
    readers = {one.reader for one in every}
    names = {str(reader): name for reader, name in (labels.names or {}).items() if reader in readers}
    if settings.show_readers != "names":
        names = {}
    elif labels.names is None:  # Label Studio does not tell this time: what it told before holds
        names = {reader: name for reader, name in known.items() if int(reader) in readers}
    if names != known:
        project.stores.projects.change(project.id, reader_names=names)
