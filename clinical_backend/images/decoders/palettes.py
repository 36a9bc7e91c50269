"""The palettes of DICOM files: tables of 8 or 16 bits, plain or segmented (PS3.3, C.7.6.3.1.5, C.7.6.3.1.6, C.7.9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.images.decoders.levels import levels_by_range
from clinical_backend.images.decoders.lookup_tables import descriptor_of, plain_table, words_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom import Dataset

__all__ = ["TAGS", "first_coloured", "looked_up"]

_COLOURS = ("Red", "Green", "Blue")
_DESCRIPTOR, _TABLE, _SEGMENTED = (
    [f"{start}{colour}PaletteColorLookupTable{end}" for colour in _COLOURS]
    for start, end in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))
)
TAGS = (*_DESCRIPTOR, *_TABLE, *_SEGMENTED)
"""The names of the tags that make up a palette."""

_DISCRETE, _LINEAR, _INDIRECT = 0, 1, 2


def first_coloured(dataset: Dataset) -> int:
    """Return the first value that a palette is for."""
    return descriptor_of(dataset[_DESCRIPTOR[0]], signed=bool(dataset.PixelRepresentation))[1]


def looked_up(stored: NDArray[np.integer], dataset: Dataset) -> NDArray[np.uint8]:
    """Return the colours of stored values, shape (rows, columns, 3).

    Values beyond the table take its nearest entry. Where no entry of any colour exceeds 255, all are of 8 bits,
    whatever the descriptor says: many devices write such tables.

    Raises
    ------
    ValueError, LookupError, AttributeError
        When a table is missing, too short or damaged.
    """
    little, signed = dataset.file_meta.TransferSyntaxUID.is_little_endian, bool(dataset.PixelRepresentation)
    tables, firsts = [], []
    for descriptor, plain, segmented in zip(_DESCRIPTOR, _TABLE, _SEGMENTED, strict=True):
        count, first, bits = descriptor_of(dataset[descriptor], signed=signed)
        if dataset.get(plain):
            values = plain_table(dataset[plain], count, bits, little=little)
        else:
            values = _expanded(words_of(dataset[segmented], bits, little=little).tolist(), count, bits // 8)
        if len(values) < count:
            raise ValueError("a table that is too short")
        tables.append(values[:count])
        firsts.append(first)
    depth = 8 if max(int(table.max()) for table in tables) <= 255 else 16
    channels = [
        levels_by_range(table, depth)[np.clip(stored.astype(np.int64) - first, 0, len(table) - 1)]
        for table, first in zip(tables, firsts, strict=True)
    ]
    return np.stack(channels, axis=-1)


def _expanded(words: list[int], count: int, width: int) -> NDArray[np.uint16]:
    """Return the table that segments describe, at most so many entries of it.

    Parameters
    ----------
    words
        The segments.
    count
        How many entries the table has.
    width
        Bytes of a word, which offsets count in.
    """
    table: list[int] = []
    at = 0
    while len(table) < count and at + 1 < len(words):
        if words[at] == _INDIRECT:
            offset = words[at + 2 : at + 2 + 4 // width]
            start = sum(word << (8 * width * place) for place, word in enumerate(offset)) // width
            for _ in range(min(words[at + 1], count)):
                if start >= at:
                    raise ValueError("a copy of segments that are not there yet")
                if len(table) >= count:
                    break
                start = _append(table, words, start)
            at += 2 + 4 // width
        else:
            at = _append(table, words, at)
    return np.array(table, dtype=np.uint16)


def _append(table: list[int], words: list[int], at: int) -> int:
    """Append what a discrete or linear segment stands for, and return where the next one begins."""
    kind, length = words[at : at + 2]
    if length == 0:
        raise ValueError("a segment without entries")  # so many of them that the table never fills
    if kind == _DISCRETE:
        table += words[at + 2 : at + 2 + length]
        return at + 2 + length
    if kind == _LINEAR:
        first, last = table[-1], words[at + 2]
        table += np.rint(first + (last - first) * np.arange(1, length + 1) / length).astype(int).tolist()
        return at + 3
    raise ValueError("a segment of an unknown kind")
