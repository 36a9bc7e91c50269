"""Labels as tasks that Label Studio imports, with their answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from clinical_backend.handover.tables import cells_of
from clinical_backend.labelstudio.labeling.regions import choice_result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clinical_backend.handover.delivery import Delivery
    from clinical_backend.handover.records import Collection, Record

__all__ = ["TaskJson"]


class TaskJson:
    """Writes ``tasks.json``: of each task the chosen fields, its images, and one answer that gives its label.

    Readers' own answers, and all else that they wrote, are left out. Where a label comes from stands in ``meta``.

    Raises
    ------
    LabelingConfigError
        When the labeling config takes the images from more than fields that are named.
    """

    def __init__(self, delivery: Delivery, collection: Collection) -> None:
        self._collection, self._written = collection, False
        for view in collection.scheme.every_view:
            view.showing([""])  # refuses what no import can write, before anything is written
        self._file = delivery.text("tasks.json")
        self._file.write("[")

    def add(self, record: Record, images: Sequence[str]) -> bool:
        """Write a record, unless an image could not be copied: an import with a task that lacks one is refused."""
        if self._collection.options.images == "copy" and not all(images):
            return False
        data: dict[str, Any] = {name: value for name, value in record.fields.items() if value is not None}
        for view in self._collection.scheme.every_view:
            shown = [name for name, one in zip(images, record.images, strict=True) if one.view in {"", view.name}]
            if shown:
                data |= view.showing(shown)
        scheme, label = self._collection.scheme, record.entry.label
        answer = [{"result": choice_result(scheme, label)}] if scheme.has(label) else []
        task = {"data": data, "annotations": answer, "meta": cells_of(self._collection, record)}
        self._file.write(f"{',' * self._written}\n{json.dumps(task)}")
        self._written = True
        return True

    def finish(self) -> None:
        """Close the file."""
        self._file.write("\n]\n")
        self._file.close()
