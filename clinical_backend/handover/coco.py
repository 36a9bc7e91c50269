"""Labels in the form of COCO: of whole images, so without boxes."""

from __future__ import annotations

import json
import tempfile
from typing import TYPE_CHECKING

from clinical_backend.handover.delivery import writing
from clinical_backend.handover.tables import cells_of
from clinical_backend.multilabel import findings_of, unknown_of
from clinical_backend.strategy.splits import SPLITS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clinical_backend.handover.delivery import Delivery
    from clinical_backend.handover.records import Collection, Record
    from clinical_backend.handover.tables import Cells

__all__ = ["Coco"]


class Coco:
    """Writes ``annotations/train.json`` and so on, each with the images of its split.

    Where a label comes from, and its weight, stand in ``attributes`` of the image.
    """

    def __init__(self, delivery: Delivery, collection: Collection) -> None:
        self._collection = collection
        self._numbers = {name: number for number, name in enumerate(collection.classes, 1)}
        self._parts = {split: _Part(delivery, split, self._numbers) for split in SPLITS}

    def add(self, record: Record, images: Sequence[str]) -> bool:
        """Write an entry for each image of a record, with an annotation for each class; tell whether there is one.

        An image without an address has the task's id for a name, and one that could not be copied has no entry.
        """
        part = self._parts[record.split]
        copied = self._collection.options.images == "copy"
        names = [name for name in images if name] if copied else [name or str(record.task) for name in images or [""]]
        for name in names:
            part.add(name, self._attributes(record), sorted(findings_of(record.entry.label)))
        return bool(names)

    def finish(self) -> None:
        """Close the files."""
        for part in self._parts.values():
            part.finish()

    def _attributes(self, record: Record) -> Cells:
        unknown = sorted(unknown_of(record.entry.label))
        return cells_of(self._collection, record) | ({"uncertain": unknown} if unknown else {})


class _Part:
    """One file. Its annotations wait in another until its images are written."""

    def __init__(self, delivery: Delivery, split: str, numbers: dict[str, int]) -> None:
        self._numbers = numbers
        self._images = self._annotations = 0
        self._file = delivery.text(f"annotations/{split}.json")
        with writing():
            waiting = tempfile.TemporaryFile(dir=delivery.folder)  # noqa: SIM115 - closed with the delivery
        self._waiting = delivery.opened.enter_context(waiting)
        categories = [{"id": number, "name": name} for name, number in numbers.items()]
        self._file.write(f'{{"categories": {json.dumps(categories)},\n"images": [')

    def add(self, name: str, attributes: Cells, classes: Sequence[str]) -> None:
        image = {"id": self._images + 1, "file_name": name, "attributes": attributes}
        self._file.write(f"{',' * bool(self._images)}\n{json.dumps(image)}")
        self._images += 1
        for one in classes:
            number = self._annotations + 1
            annotation = {"id": number, "image_id": self._images, "category_id": self._numbers[one], "iscrowd": 0}
            with writing():
                self._waiting.write(f"{',' * bool(self._annotations)}\n{json.dumps(annotation)}".encode())
            self._annotations = number

    def finish(self) -> None:
        self._file.write('\n],\n"annotations": [')
        self._file.append(self._waiting)
        self._file.write("\n]}\n")
        self._file.close()
        self._waiting.close()
