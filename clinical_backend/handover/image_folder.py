"""Labels as a folder of images that Hugging Face's ``datasets`` loads (``imagefolder``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clinical_backend.handover.tables import heading, row_of
from clinical_backend.strategy.splits import SPLITS
from clinical_backend.text import csv_row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clinical_backend.handover.delivery import Delivery, DigestedFile
    from clinical_backend.handover.records import Collection, Record

__all__ = ["ImageFolder"]


class ImageFolder:
    """Writes ``train/metadata.csv`` and so on beside the images of each split, a line an image."""

    def __init__(self, delivery: Delivery, collection: Collection) -> None:
        self._delivery, self._collection = delivery, collection
        self._files: dict[str, DigestedFile] = {}

    def add(self, record: Record, images: Sequence[str]) -> None:
        """Write a line for each image that was copied into the folder of the record's split."""
        for name in images:
            if record.split not in self._files:  # a split without any image is no folder: it could not be loaded
                self._files[record.split] = self._delivery.text(f"{record.split}/metadata.csv")
                self._files[record.split].write(csv_row(("file_name", *heading(self._collection))))
            base = name.removeprefix(f"{record.split}/")
            self._files[record.split].write(csv_row((base, *row_of(self._collection, record, name))))

    def finish(self) -> None:
        """Close the files."""
        for split in SPLITS:
            if split in self._files:
                self._files[split].close()
