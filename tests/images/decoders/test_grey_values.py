"""Grey values are shown by what a file says of them, also where it says it in the wrong form."""

import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from clinical_backend.errors import ImageError
from clinical_backend.images.decoders.decoding import decode
from tests.images.decoders.dicoms import RAMP, dicom, grey

PLACES = np.arange(4, dtype=np.uint16)[None]
WINDOW = {"WindowCenter": 101, "WindowWidth": 201}  # shows 1 to 201 of RAMP: 0, 127, 254, 255


def table(descriptor, entries, kind="US"):
    """Return an item of a sequence of tables; its entries are numbers, or bytes of the kind OW."""
    item = Dataset()
    item.LUTDescriptor, item.LUTData = descriptor, entries
    item["LUTDescriptor"].VR, item["LUTData"].VR = kind, "OW" if isinstance(entries, bytes) else "US"
    return item


def words(values, order="<"):
    return np.asarray(values).astype(f"{order}u2").tobytes()


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
@pytest.mark.parametrize(
    ("bits", "entries"),
    [
        (12, words([0, 1020, 2048, 4095])),
        (8, words([0, 64, 128, 255])),
        (8, bytes([0, 64, 128, 255])),
        (16, words([0, 64, 128, 255])),
        (8, words([0, 1020, 2048, 4095])),
    ],
    ids=["12 bits", "8 bits in words", "8 bits in pairs", "8 bits that are called 16", "12 bits that are called 8"],
)
def test_a_voi_table_is_looked_up_however_its_entries_are_stored(bits, entries, syntax):
    data = dicom(PLACES, syntax=syntax, VOILUTSequence=[table([4, 0, bits], entries)])
    assert grey(data) == [[0, 64, 128, 255]]


def test_a_voi_table_that_does_not_reach_white_is_shown_as_dark_as_it_is():
    assert grey(dicom(PLACES, VOILUTSequence=[table([4, 0, 12], [0, 80, 160, 240])])) == [[0, 5, 10, 15]]


def test_a_voi_table_of_a_big_endian_file_is_looked_up():
    data = dicom(
        PLACES,
        syntax=ExplicitVRBigEndian,
        PixelData=PLACES.astype(">u2").tobytes(),
        VOILUTSequence=[table([4, 0, 12], words([0, 1020, 2048, 4095], ">"))],
    )
    assert grey(data) == [[0, 64, 128, 255]]


def test_a_voi_table_with_more_entries_than_they_have_levels_is_looked_up():
    values = np.array([[0, 1024, 2048, 4095]], dtype=np.uint16)
    data = dicom(values, VOILUTSequence=[table([4096, 0, 8], (np.arange(4096) >> 4).tolist())])
    assert grey(data) == [[0, 64, 128, 255]]


@pytest.mark.parametrize("kind", ["SS", "US"])
def test_a_table_begins_below_zero_also_where_its_descriptor_is_called_unsigned(kind):
    first = -2 if kind == "SS" else 2**16 - 2
    item = table([4, first, 8], [0, 64, 128, 255], kind)
    assert grey(dicom(PLACES.astype(np.int16) - 2, VOILUTSequence=[item])) == [[0, 64, 128, 255]]
    rescaled = {"RescaleSlope": 1, "RescaleIntercept": -2}
    assert grey(dicom(PLACES, VOILUTSequence=[item], **rescaled)) == [[0, 64, 128, 255]]
    signed = dicom(PLACES.astype(np.int16) - 2, ModalityLUTSequence=[item], WindowCenter=128, WindowWidth=256)
    assert grey(signed) == [[0, 64, 128, 255]]


@pytest.mark.parametrize("entries", [[0, 1000, 2000, 4000], words([0, 1000, 2000, 4000])], ids=["US", "OW"])
def test_the_window_counts_in_units_of_the_modality_table(entries):
    data = dicom(PLACES, ModalityLUTSequence=[table([4, 0, 12], entries)], WindowCenter=2000.5, WindowWidth=4001)
    assert grey(data) == [[0, 64, 128, 255]]


def test_a_modality_table_that_is_damaged_is_not_passed_over():
    with pytest.raises(ImageError, match="damaged"):
        grey(dicom(PLACES, ModalityLUTSequence=[table([4, 0, 16], [1])], **WINDOW))


def test_a_negative_slope_shows_the_window_upside_down():
    data = dicom(RAMP, RescaleSlope=-1, RescaleIntercept=300, WindowCenter=150.5, WindowWidth=301)
    assert grey(data) == [[255, 170, 85, 0]]


def test_a_slope_of_nothing_is_left_out():
    assert grey(dicom(RAMP, RescaleSlope=0, RescaleIntercept=7, **WINDOW)) == [[0, 127, 254, 255]]


@pytest.mark.parametrize(
    ("function", "levels"),
    [
        ("SIGMOID", [[30, 126, 224, 250]]),
        ("LINEAR_EXACT", [[0, 126, 253, 255]]),
        ("UNKNOWN", [[0, 127, 254, 255]]),
    ],
)
def test_the_function_of_the_window_is_heeded_and_an_unknown_one_counts_as_linear(function, levels):
    assert grey(dicom(RAMP, VOILUTFunction=function, **WINDOW)) == levels


def test_the_narrowest_window_is_a_threshold():
    assert grey(dicom(RAMP, WindowCenter=150, WindowWidth=1)) == [[0, 0, 255, 255]]


def test_a_window_that_is_no_number_is_left_out_and_a_slope_that_is_none_refused():
    assert grey(dicom(RAMP, WindowCenter="101", WindowWidth="201").replace(b"101 ", b"10,1")) == [[0, 85, 170, 255]]
    with pytest.raises(ImageError, match="damaged"):
        grey(dicom(RAMP, RescaleSlope="1.00", RescaleIntercept="0").replace(b"1.00", b"1,00"))


def test_padding_below_zero_is_found_also_where_it_is_written_as_unsigned():
    data = dicom(np.array([[-2000, 0, 100, 200]], dtype=np.int16), PixelPaddingValue=-2000)
    unsigned = data.replace(b"\x28\x00\x20\x01SS", b"\x28\x00\x20\x01US")
    assert unsigned != data
    assert grey(unsigned) == grey(data) == [[0, 0, 128, 255]]


@pytest.mark.parametrize(("kind", "name"), [("f4", "Float"), ("f8", "DoubleFloat")])
def test_padding_of_real_values_does_not_count(kind, name):
    values = np.array([[np.finfo(kind).min, -4e30, 0, 51, 255]], dtype=kind)
    tags = {
        f"{name}PixelData": values.tobytes(),
        f"{name}PixelPaddingValue": float(values[0, 0]),
        f"{name}PixelPaddingRangeLimit": -1e30,
    }
    without = ["PixelData", "PixelRepresentation", "BitsStored", "HighBit"]
    assert grey(dicom(values, without=without, **tags)) == [[0, 0, 0, 51, 255]]


def test_values_above_those_of_a_supplemental_palette_are_colours_and_do_not_count():
    tags = {"PixelPresentation": "COLOR"}
    for colour, entries in zip(("Red", "Green", "Blue"), ([65535, 0], [0, 65535], [0, 0]), strict=True):
        tags[f"{colour}PaletteColorLookupTableDescriptor"] = [2, 1000, 16]
        tags[f"{colour}PaletteColorLookupTableData"] = words(entries)
    values = np.array([[0, 100, 200, 1000, 1001]], dtype=np.uint16)
    shown = np.asarray(decode(dicom(values, **tags)))[0].tolist()
    assert shown == [[0] * 3, [128] * 3, [255] * 3, [255, 0, 0], [0, 255, 0]]
    windowed = np.asarray(decode(dicom(values, **tags, **WINDOW)))[0].tolist()
    assert windowed == [[0] * 3, [127] * 3, [254] * 3, [255, 0, 0], [0, 255, 0]]


TWELVE = np.arange(4096, dtype=np.uint16).reshape(64, 64)
SQUARES = np.arange(4096) ** 2 // 4096
SHOWN = {
    "window": {"WindowCenter": 1000, "WindowWidth": 1501},
    "sigmoid": {"WindowCenter": 1000, "WindowWidth": 1501, "VOILUTFunction": "SIGMOID"},
    "inverted": {"WindowCenter": 1000, "WindowWidth": 1501, "PhotometricInterpretation": "MONOCHROME1"},
    "rescaled": {"WindowCenter": 1000, "WindowWidth": 1501, "RescaleSlope": -0.5, "RescaleIntercept": 2000},
    "modality": {
        "WindowCenter": 1000,
        "WindowWidth": 1501,
        "ModalityLUTSequence": [table([4096, 0, 16], words(SQUARES))],
    },
    "table": {"VOILUTSequence": [table([4096, 0, 12], words(SQUARES))]},
    "table of 8 bits": {"VOILUTSequence": [table([4096, 0, 8], (SQUARES // 16).tolist())]},
    "short table": {"VOILUTSequence": [table([1000, 500, 12], SQUARES[-1000:].tolist())]},
}


@pytest.mark.skipif(shutil.which("dcmj2pnm") is None, reason="dcmtk is not installed")
@pytest.mark.parametrize("tags", SHOWN.values(), ids=SHOWN)
def test_grey_values_look_as_dcmtk_shows_them(tags, tmp_path):
    data = dicom(TWELVE, BitsStored=12, HighBit=11, **tags)
    (tmp_path / "1.dcm").write_bytes(data)
    shown = "+Wi" if "WindowCenter" in tags else "+Wl"
    subprocess.run(["dcmj2pnm", "+op", shown, "1", "1.dcm", "1.pgm"], cwd=tmp_path, check=True)
    theirs = np.asarray(Image.open(tmp_path / "1.pgm")).astype(int)
    assert np.abs(theirs - np.array(grey(data))).max() <= 1
