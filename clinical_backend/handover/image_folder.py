"""Labels as a folder of images that Hugging Face's ``datasets`` loads (``imagefolder``).

It takes the types of the columns from each split by itself, and refuses a set whose splits differ. So a column has one
type whatever is there: where something is missing, numbers are NaN and texts empty. Of CSV it would take the class
"None" for a missing one, and "1" for a number.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from clinical_backend.handover.tables import heading, row_of
from clinical_backend.strategy.splits import SPLITS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clinical_backend.handover.delivery import Delivery, DigestedFile
    from clinical_backend.handover.records import Collection, Record

__all__ = ["ImageFolder"]

_NUMBERS = frozenset({"round", "agreement", "weight"})


class ImageFolder:
    """Writes ``train/metadata.jsonl`` and so on beside the images of each split, a line an image."""

    def __init__(self, delivery: Delivery, collection: Collection) -> None:
        self._delivery, self._collection = delivery, collection
        self._files: dict[str, DigestedFile] = {}

    def add(self, record: Record, images: Sequence[str]) -> bool:
        """Write a line for each image that was copied into the folder of its split; tell whether there is one."""
        copied = [name for name in images if name]
        cells = zip(heading(self._collection), row_of(self._collection, record), strict=True)
        said = {name: _typed(name, value) for name, value in cells}
        for name in copied:
            if record.split not in self._files:  # a split without any image is no folder: it could not be loaded
                self._files[record.split] = self._delivery.text(f"{record.split}/metadata.jsonl")
            line = {"file_name": name.removeprefix(f"{record.split}/"), **said}
            self._files[record.split].write(json.dumps(line, ensure_ascii=False) + "\n")
        return bool(copied)

    def finish(self) -> None:
        """Close the files."""
        for split in SPLITS:
            if split in self._files:
                self._files[split].close()


def _typed(name: str, value: object) -> object:
    """Return a cell such that its column has one type in all splits; fields of the tasks' data are texts."""
    if name in _NUMBERS or name.startswith("finding:"):
        return float(value) if isinstance(value, int | float) else math.nan
    if name.startswith("data:"):
        return "" if value is None else str(value)
    return "" if value is None else value
