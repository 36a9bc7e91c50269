"""The lookup tables of DICOM files: of palettes, of modalities and of VOI (PS3.3, C.7.6.3.1.5, C.11.1, C.11.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom import DataElement, Dataset

__all__ = ["GreyTable", "descriptor_of", "grey_table", "plain_table", "words_of"]


@dataclass(frozen=True, slots=True)
class GreyTable:
    """What grey values become.

    Attributes
    ----------
    entries
        Shape (n,), uint16.
    first
        The value that the first entry is for.
    bits
        How many an entry has.
    """

    entries: NDArray[np.uint16]
    first: int
    bits: int

    def of(self, values: NDArray[Any]) -> NDArray[np.uint16]:
        """Return what values of any shape become; those beyond the table take its nearest entry."""
        places = np.rint(values).astype(np.int64) - self.first
        found: NDArray[np.uint16] = self.entries[np.clip(places, 0, len(self.entries) - 1)]
        return found


def grey_table(item: Dataset, *, little: bool, signed: bool) -> GreyTable:
    """Return the table of an item of a modality or VOI LUT sequence.

    Where its entries contradict the bits that it says they have, they are right: many devices write tables of more
    bits, or of 8 that they call 16.

    Parameters
    ----------
    item
        Of the sequence.
    little
        Whether the file's bytes are in little-endian order.
    signed
        Whether what is looked up may be negative.

    Raises
    ------
    ValueError, LookupError, AttributeError
        When the table is missing, too short or damaged.
    """
    count, first, bits = descriptor_of(item["LUTDescriptor"], signed=signed)
    if not 8 <= bits <= 16:
        raise ValueError("entries that have neither 8 nor 16 bits, nor a number between")
    entries = plain_table(item["LUTData"], count, 16 if bits > 8 else 8, little=little)[:count]
    most = int(entries.max())
    return GreyTable(entries, first, 8 if bits == 16 and most <= 255 else max(bits, most.bit_length()))


def descriptor_of(element: DataElement, *, signed: bool) -> tuple[int, int, int]:
    """Return how many entries a table has, the value that the first one is for, and how many bits each has.

    The numbers are read by what they may be, not by the type that a file gives them: it is often the wrong one.

    Parameters
    ----------
    element
        The descriptor.
    signed
        Whether what is looked up may be negative.
    """
    count, first, bits = (int(value) for value in element.value)
    first = first - 2**16 if signed and first >= 2**15 else first
    return count % 2**16 or 2**16, first, bits  # 0 stands for 65536; a signed type makes large ones negative


def plain_table(element: DataElement, count: int, bits: int, *, little: bool) -> NDArray[np.uint16]:
    """Return a table's entries, at least ``count``; those of 8 bits stand two in a word, or each in one of its own.

    Raises
    ------
    ValueError
        When it is too short.
    """
    words = words_of(element, 16, little=little)
    if len(words) < count:
        words = words_of(element, 8 if bits in {8, 16} else bits, little=little)
    if len(words) < count:
        raise ValueError("a table that is too short")
    return words


def words_of(element: DataElement, bits: int, *, little: bool) -> NDArray[np.uint16]:
    """Return what an element holds as numbers of 8 or 16 bits."""
    if bits not in {8, 16}:
        raise ValueError("entries that have neither 8 nor 16 bits")
    value = element.value
    if isinstance(value, bytes):
        kind = "<u2" if little or element.VR == "OB" else ">u2"
        words = np.frombuffer(value + bytes(len(value) % 2), kind)
    else:
        words = np.atleast_1d(np.array(value)).astype(np.uint16)
    words = words.astype("<u2")
    return (words.view(np.uint8) if bits == 8 else words).astype(np.uint16)  # of two in a word the low one is first
