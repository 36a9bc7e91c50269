"""The palettes of DICOM files: tables of 8 or 16 bits, plain or segmented (PS3.3, C.7.6.3.1.5, C.7.6.3.1.6, C.7.9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.images.decoders.levels import levels_by_range

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom import Dataset

__all__ = ["TAGS", "looked_up"]

_COLOURS = ("Red", "Green", "Blue")
_DESCRIPTOR, _TABLE, _SEGMENTED = (
    [f"{start}{colour}PaletteColorLookupTable{end}" for colour in _COLOURS]
    for start, end in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))
)
TAGS = (*_DESCRIPTOR, *_TABLE, *_SEGMENTED)
"""The names of the tags that make up a palette."""

_DISCRETE, _LINEAR, _INDIRECT = 0, 1, 2


def looked_up(stored: NDArray[np.integer], dataset: Dataset) -> NDArray[np.uint8]:
    """Return the colours of stored values, shape (rows, columns, 3).

    Values beyond the table take its nearest entry. Where no entry of any colour exceeds 255, all are of 8 bits,
    whatever the descriptor says: many devices write such tables.

    Raises
    ------
    ValueError, LookupError, AttributeError
        When a table is missing, too short or damaged.
    """
    tables, firsts = [], []
    for descriptor, table, segmented in zip(_DESCRIPTOR, _TABLE, _SEGMENTED, strict=True):
        entries, first, bits = (int(value) for value in dataset[descriptor].value)
        count = entries % 2**16 or 2**16  # 0 stands for 65536; a signed type makes large ones negative
        if dataset.get(table):
            values = _plain(dataset, table, count, bits)
        else:
            values = _expanded(_words(dataset, segmented, bits).tolist(), count, bits // 8)
        if len(values) < count:
            raise ValueError("a table that is too short")
        tables.append(values[:count])
        firsts.append(first - 2**16 if dataset.PixelRepresentation and first >= 2**15 else first)
    depth = 8 if max(int(table.max()) for table in tables) <= 255 else 16
    channels = [
        levels_by_range(table, depth)[np.clip(stored.astype(np.int64) - first, 0, len(table) - 1)]
        for table, first in zip(tables, firsts, strict=True)
    ]
    return np.stack(channels, axis=-1)


def _plain(dataset: Dataset, name: str, count: int, bits: int) -> NDArray[np.uint16]:
    """Return a table; entries of 8 bits stand two in a word, or each in one of its own."""
    words = _words(dataset, name, 16)
    return words if len(words) >= count else _words(dataset, name, 8 if bits in {8, 16} else bits)


def _words(dataset: Dataset, name: str, bits: int) -> NDArray[np.uint16]:
    """Return what a tag holds as numbers of 8 or 16 bits."""
    if bits not in {8, 16}:
        raise ValueError("entries that have neither 8 nor 16 bits")
    value = dataset[name].value
    little = dataset.file_meta.TransferSyntaxUID.is_little_endian
    if isinstance(value, bytes):
        kind = "<u2" if little or dataset[name].VR == "OB" else ">u2"
        words = np.frombuffer(value + bytes(len(value) % 2), kind)
    else:
        words = np.atleast_1d(np.array(value)).astype(np.uint16)
    words = words.astype("<u2")
    return (words.view(np.uint8) if bits == 8 else words).astype(np.uint16)  # of two in a word the low one is first


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
