"""DICOM palettes: of 8 and 16 bits, plain and segmented, with few entries, and with a first value that is mapped."""

import io

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)

from clinical_backend.errors import ImageError
from clinical_backend.images.decoders.decoding import decode

SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]
RAMP = np.arange(256) * 257
COLOURS = np.stack([RAMP, RAMP[::-1], RAMP * 7 % 65536], axis=-1)  # 16-bit entries for each colour


def dicom(stored, descriptor, tables, *, segmented=False, syntax=ExplicitVRLittleEndian):
    """Return a file with the bytes of a table for each colour."""
    stored, little = np.asarray(stored), syntax != ExplicitVRBigEndian
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "PALETTE COLOR"
    dataset.BitsAllocated = dataset.BitsStored = 8 * stored.itemsize
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, int(stored.dtype.kind == "i")
    for colour, table in zip(("Red", "Green", "Blue"), tables, strict=True):
        name = f"{colour}PaletteColorLookupTable"
        setattr(dataset, f"{name}Descriptor", list(descriptor))
        dataset[f"{name}Descriptor"].VR = "SS" if dataset.PixelRepresentation else "US"
        setattr(dataset, f"{'Segmented' if segmented else ''}{name}Data", table)
    dataset.PixelData = stored.astype(stored.dtype.newbyteorder("<" if little else ">")).tobytes()
    dataset["PixelData"].VR = "OW" if stored.itemsize == 2 else "OB"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def words(values, syntax=ExplicitVRLittleEndian):
    return np.asarray(values).astype(">u2" if syntax == ExplicitVRBigEndian else "<u2").tobytes()


def pairs(values, syntax=ExplicitVRLittleEndian):
    """Return 8-bit values two in a word, the first in the low byte."""
    packed = np.asarray(values, np.uint8).tobytes()
    return words(np.frombuffer(packed + bytes(len(packed) % 2), "<u2"), syntax)


def shown(data):
    return np.asarray(decode(data)).reshape(-1, 3).tolist()


ALL = np.arange(256, dtype=np.uint8).reshape(16, 16)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("form", ["words", "words of 8 bits", "pairs"])
def test_a_table_is_looked_up_however_its_entries_are_stored(form, bits, syntax):
    high = COLOURS >> 8
    tables = {"words": COLOURS, "words of 8 bits": high, "pairs": high}[form].T
    packed = [(pairs if form == "pairs" else words)(table, syntax) for table in tables]
    assert shown(dicom(ALL, (256, 0, bits), packed, syntax=syntax)) == high.tolist()


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("bits", [8, 16])
def test_segments_are_expanded(bits, syntax):
    top = 2**bits - 1
    pack = words if bits == 16 else pairs
    rising = [0, 1, 0, 1, 255, top]  # one entry of 0, then 255 in a line to the top
    falling = [0, 2, top, top, 1, 254, 0]
    # Two entries of 5, a line of two to 9, and both again: the copied line begins where the table ends, at 9.
    part = [0, 2, 5 << (bits - 8), 5 << (bits - 8), 1, 2, 9 << (bits - 8)]
    start = [0, 0] if bits == 16 else [0, 0, 0, 0]
    copied = [*part, 2, 2, *start, 1, 248, top]
    tables = [pack(segments, syntax) for segments in (rising, falling, copied)]
    red, green, blue = np.array(shown(dicom(ALL, (256, 0, bits), tables, segmented=True, syntax=syntax))).T
    assert np.abs(red - np.arange(256)).max() <= 1
    assert green[[0, 1, 255]].tolist() == [255, 255, 0]
    assert np.all(np.diff(green[1:]) <= 0)
    assert blue[:8].tolist() == [5, 5, 7, 9, 5, 5, 7, 9]
    assert blue[255] == 255


def test_segments_may_be_copied_from_the_middle_by_their_offset_in_bytes():
    segments = [0, 1, 0, 0, 2, 10 << 8, 20 << 8, 2, 1, 6, 0, 0, 1, 65535]  # the second segment begins at byte 6
    data = dicom(np.arange(6, dtype=np.uint8)[None], (6, 0, 16), [words(segments)] * 3, segmented=True)
    assert [red for red, _, _ in shown(data)] == [0, 10, 20, 10, 20, 255]


@pytest.mark.parametrize(
    ("kind", "first", "stored"),
    [
        ("u1", 100, [0, 100, 101, 102, 255]),
        ("u2", 1000, [0, 1000, 1001, 1002, 65535]),
        ("i2", -5, [-9, -5, -4, -3, 900]),
    ],
)
def test_values_beyond_the_table_take_its_nearest_entry(kind, first, stored):
    table = words([10 << 8, 20 << 8, 30 << 8])
    data = dicom(np.array([stored], dtype=kind), (3, first, 16), [table] * 3)
    assert [red for red, _, _ in shown(data)] == [10, 10, 20, 30, 30]


def test_a_table_of_8_bits_serves_pixels_of_16():
    stored = np.array([[0, 255, 256, 300, 511]], dtype=np.uint16)
    table = pairs(np.arange(512) // 2)
    assert [red for red, _, _ in shown(dicom(stored, (512, 0, 8), [table] * 3))] == [0, 127, 128, 150, 255]


def test_a_table_of_65536_entries_is_counted_as_0():
    stored = np.array([[0, 256, 65535]], dtype=np.uint16)
    data = dicom(stored, (0, 0, 16), [words(np.arange(65536))] * 3)
    assert [red for red, _, _ in shown(data)] == [0, 1, 255]


@pytest.mark.parametrize(
    "segments",
    [
        [1, 255, 65535],  # a line without a beginning
        [2, 1, 0, 0],  # a copy of nothing
        [0, 1, 7, 2, 1, 6, 0, 1, 255, 9],  # a copy of itself
        [7, 1, 0],
        [0, 0] * 100,
        [0, 300, 1, 2],
        [],
    ],
)
def test_damaged_segments_are_refused(segments):
    with pytest.raises(ImageError, match="DICOM"):
        decode(dicom(ALL, (256, 0, 16), [words(segments)] * 3, segmented=True))


def test_a_table_that_is_too_short_is_refused():
    with pytest.raises(ImageError, match="DICOM"):
        decode(dicom(ALL, (256, 0, 16), [words([1, 2, 3])] * 3))
