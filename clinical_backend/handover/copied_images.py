"""Images as they are handed over: their pixels alone, so that nothing of a patient comes along in a header."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from clinical_backend.errors import ImageError
from clinical_backend.images.decoders.process_pool import DecoderProcesses
from clinical_backend.system.parallel import map_in_order
from clinical_backend.workspace.outside_features import as_png

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from clinical_backend.handover.delivery import Delivery
    from clinical_backend.handover.records import Record
    from clinical_backend.images.sources import ImageSource
    from clinical_backend.study import StudyImage

__all__ = ["CopiedImages"]

_WORKERS, _DECODERS = 4, 2
"""Some fetch and write while two decode; a decoded image takes up to 192 MiB."""


class CopiedImages:
    """Writes images as PNG: 8-bit RGB, upright, as the backend decodes them, with no header of the file they are from.

    Parameters
    ----------
    source
        Where images come from.
    delivery
        Where they go.
    by_split
        Whether each split has a folder of its own; else all lie in ``images``.
    """

    def __init__(self, source: ImageSource, delivery: Delivery, *, by_split: bool) -> None:
        self._source, self._delivery, self._by_split = source, delivery, by_split
        self._decoders = DecoderProcesses(processes=_DECODERS)
        self._lock = threading.Lock()
        self.missing = 0
        """Images that could not be read."""

    def close(self) -> None:
        """End the decoders."""
        self._decoders.close()

    def copy(self, records: Iterable[Record]) -> Iterator[tuple[Record, list[str]]]:
        """Yield each record with the names of its images' copies, in order; of what cannot be read it is empty."""
        yield from map_in_order(self._copied, records, workers=_WORKERS, look_ahead=2 * _WORKERS)

    def _copied(self, record: Record) -> tuple[Record, list[str]]:
        return record, [self._copy_of(record, image) for image in record.images]

    def _copy_of(self, record: Record, image: StudyImage) -> str:
        folder = record.split if self._by_split else "images"
        name = f"{folder}/{record.task}.png" if image.total == 1 else f"{folder}/{record.task}-{image.position}.png"
        try:
            pixels = self._decoders.decode(self._source.fetch(image.uri, record.task))
        except ImageError:
            with self._lock:
                self.missing += 1
            return ""
        self._delivery.write(name, as_png(pixels))
        return name
