"""A DICOM file becomes RGB as a workstation shows it, on pydicom's own files and on generated ones."""

import io
import logging
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
)

from clinical_backend.errors import ImageError
from clinical_backend.images.decoders.decoding import count_images, decode
from clinical_backend.study import FilePage
from tests.images.decoders.dicoms import RAMP, dicom, grey

FILES = Path(pydicom.__file__).parent / "data" / "test_files"


def shipped(name):
    return np.asarray(decode((FILES / name).read_bytes()))


@pytest.mark.parametrize(
    "name",
    [
        "MR_small_RLE.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_expb.dcm",
        "MR_small_implicit.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "MR_small_padded.dcm",
    ],
)
def test_every_lossless_transfer_syntax_gives_the_same_pixels(name):
    assert np.array_equal(shipped(name), shipped("MR_small.dcm"))


@pytest.mark.parametrize(
    ("name", "size", "mean"),
    [
        ("CT_small.dcm", (128, 128), (105.7, 105.7, 105.7)),
        ("693_J2KI.dcm", (512, 512), (44.3, 44.3, 44.3)),
        ("JPEG2000.dcm", (1024, 256), (38.6, 38.6, 38.6)),
        ("JPEGLSNearLossless_16.dcm", (50, 10), (46.7, 46.7, 46.7)),
        ("SC_rgb_jpeg_dcmtk.dcm", (100, 100), (127.7, 127.6, 127.8)),
        ("SC_rgb_jpeg_gdcm.dcm", (100, 100), (127.7, 127.7, 127.7)),
        ("SC_rgb_rle_16bit_2frame.dcm", (100, 100), (127.7, 127.7, 127.7)),
        ("SC_ybr_full_422_uncompressed.dcm", (100, 100), (127.7, 127.6, 127.8)),
        ("SC_rgb_small_odd_big_endian.dcm", (3, 3), (129.0, 128.7, 128.7)),
        ("examples_palette.dcm", (350, 800), (15.9, 20.1, 25.4)),
        ("examples_ybr_color.dcm", (240, 320), (10.4, 10.7, 10.8)),
        ("image_dfl.dcm", (512, 512), (127.1, 127.1, 127.1)),
        ("rtdose_rle.dcm", (10, 10), (120.1, 120.1, 120.1)),
    ],
)
def test_the_files_that_pydicom_ships_look_as_they_did(name, size, mean):
    pixels = shipped(name)
    assert (pixels.shape[:2], pixels.dtype) == (size, np.uint8)
    assert pixels.mean(axis=(0, 1)) == pytest.approx(mean, abs=0.6)  # lossy codecs differ a little by version


@pytest.mark.parametrize("path", sorted(FILES.glob("*.dcm")), ids=lambda path: path.name)
def test_every_file_that_pydicom_ships_is_read_or_refused(path):
    try:
        image = decode(path.read_bytes())
    except ImageError:
        return
    assert image.mode == "RGB"


def test_without_a_window_the_percentiles_of_the_values_are_black_and_white():
    assert grey(dicom(RAMP)) == [[0, 85, 170, 255]]


def test_a_window_decides_what_is_black_and_white():
    # A window of center 101 and width 201 shows 1 to 201 (PS3.3, C.11.2.1.2).
    assert grey(dicom(RAMP, WindowCenter=101, WindowWidth=201)) == [[0, 127, 254, 255]]


def test_of_several_windows_the_first_is_taken():
    first = dicom(RAMP, WindowCenter=[101, 5000], WindowWidth=[201, 10])
    assert grey(first) == grey(dicom(RAMP, WindowCenter=101, WindowWidth=201))


def test_the_window_counts_in_units_after_rescaling():
    values = dicom(RAMP, RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=-800, WindowWidth=401)
    assert grey(values) == [[0, 128, 255, 255]]


@pytest.mark.parametrize("width", [0, -5, None])
def test_a_window_that_says_nothing_is_left_out(width):
    assert grey(dicom(RAMP, WindowCenter=100, WindowWidth=width)) == [[0, 85, 170, 255]]


def test_an_empty_window_and_rescale_are_left_out():
    tags = {"WindowCenter": None, "WindowWidth": None, "RescaleSlope": None, "RescaleIntercept": None}
    assert grey(dicom(RAMP, **tags)) == [[0, 85, 170, 255]]


def test_a_voi_table_is_looked_up():
    table = Dataset()
    table.LUTDescriptor = [4, 0, 8]
    table.LUTData = [255, 10, 20, 0]
    table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
    values = np.array([[0, 1, 2, 3, 9]], dtype=np.uint16)
    assert grey(dicom(values, VOILUTSequence=[table])) == [[255, 10, 20, 0, 0]]


def test_signed_values_are_read_as_signed():
    assert grey(dicom(np.array([[-100, 0, 0, 100]], dtype=np.int16))) == [[0, 127, 127, 255]]


def test_monochrome1_is_inverted():
    assert grey(dicom(RAMP, PhotometricInterpretation="MONOCHROME1")) == [[255, 170, 85, 0]]


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_does_not_count(photometric):
    values = np.array([[5000, 100, 200, 200]], dtype=np.uint16)
    data = dicom(values, PixelPaddingValue=5000, PhotometricInterpretation=photometric)
    assert grey(data) == [[0, 0, 255, 255] if photometric == "MONOCHROME2" else [0, 255, 0, 0]]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
@pytest.mark.parametrize(("frames", "taken"), [(1, 0), (2, 0), (3, 1), (10, 4)])
def test_of_many_frames_the_middle_one_is_taken(frames, taken, syntax):
    values = np.zeros((frames, 2, 2), dtype=np.uint8)
    values[taken, 0, 0] = 200
    data = dicom(values, syntax=syntax, NumberOfFrames=frames)
    assert grey(data) == [[255, 0], [0, 0]]


def test_an_enhanced_file_gives_each_frame_its_own_window():
    groups = []
    for center in (10, 101, 10):
        window, group = Dataset(), Dataset()
        window.WindowCenter, window.WindowWidth = center, 201
        group.FrameVOILUTSequence = [window]
        groups.append(group)
    data = dicom(np.stack([RAMP] * 3), NumberOfFrames=3, PerFrameFunctionalGroupsSequence=groups)
    assert grey(data) == [[0, 127, 254, 255]]


def test_colour_keeps_its_channels_and_its_high_bits():
    colours = np.array([[[255, 0, 10], [1, 2, 3]]], dtype=np.uint8)
    assert np.array_equal(np.asarray(decode(dicom(colours))), colours)
    deep = colours.astype(np.uint16) << 8
    assert np.array_equal(np.asarray(decode(dicom(deep))), colours)


@pytest.mark.parametrize("photometric", ["HSV", "CMYK", "ARGB", "YBR_PARTIAL_422", "YBR_ICT", "YBR_RCT", "MONOCHROME2"])
def test_colours_that_nothing_converts_are_refused_by_name(photometric):
    colours = np.zeros((4, 4, 3), dtype=np.uint8)
    with pytest.raises(ImageError, match=f"colours that are not read: {photometric}, 3 in a pixel"):
        decode(dicom(colours, PhotometricInterpretation=photometric))


def test_grey_that_is_called_a_colour_is_refused_and_an_unknown_name_is_not_told():
    with pytest.raises(ImageError, match="colours that are not read: RGB, 1 in a pixel"):
        decode(dicom(RAMP, PhotometricInterpretation="RGB"))
    with pytest.raises(ImageError, match="not read: of an unknown kind") as refusal:
        decode(dicom(RAMP, PhotometricInterpretation="DOE JANE"))
    assert "DOE" not in str(refusal.value)


def test_colour_of_a_few_bits_reaches_white():
    assert (
        np.asarray(decode(dicom(np.full((2, 2, 3), 31, np.uint8), BitsStored=5, HighBit=4))).tolist()
        == [[[255] * 3] * 2] * 2
    )


def test_a_narrow_range_of_large_values_keeps_its_steps():
    values = (4_000_000_000 + np.arange(256, dtype=np.uint32)).reshape(16, 16)
    assert len(np.unique(grey(dicom(values)))) > 250


def test_an_image_without_the_tags_that_may_be_missing_is_read():
    without = ["SamplesPerPixel", "PhotometricInterpretation", "PixelRepresentation", "BitsStored", "HighBit"]
    assert grey(dicom(RAMP, without=without)) == [[0, 85, 170, 255]]


@pytest.mark.parametrize("name", ["Rows", "Columns", "PixelData"])
def test_an_image_without_the_tags_that_must_be_there_is_refused(name):
    with pytest.raises(ImageError, match="DICOM"):
        decode(dicom(RAMP, without=[name]))


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_a_file_without_preamble_is_recognised(syntax):
    assert grey(dicom(RAMP, syntax=syntax, preamble=False)) == [[0, 85, 170, 255]]


def test_a_number_of_frames_that_is_none_counts_as_one():
    assert grey(dicom(RAMP, NumberOfFrames="77").replace(b"77", b"1A")) == [[0, 85, 170, 255]]


@pytest.mark.parametrize("values", [RAMP, np.zeros((10_000, 2, 2), dtype=np.uint8)], ids=["claimed", "there"])
def test_ten_thousand_frames_are_refused_undecoded(values):
    with pytest.raises(ImageError, match="more than 4096 frames"):
        decode(dicom(values, NumberOfFrames=10_000))


def test_a_header_that_claims_more_frames_than_there_are_is_refused():
    with pytest.raises(ImageError, match="damaged"):
        decode(dicom(RAMP, NumberOfFrames=4000))


def test_a_header_that_claims_too_many_pixels_is_refused_unread():
    with pytest.raises(ImageError, match="million pixels"):
        decode(dicom(RAMP, Rows=65535, Columns=65535))


def test_a_report_is_not_an_image():
    with pytest.raises(ImageError, match="holds no image"):
        decode((FILES / "test-SR.dcm").read_bytes())


@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_a_truncated_file_is_refused(share):
    data = dicom(np.arange(4096, dtype=np.uint16).reshape(64, 64))
    with pytest.raises(ImageError, match="DICOM"):
        decode(data[: int(len(data) * share)])


def test_what_a_file_says_of_its_patient_is_neither_logged_nor_told(caplog, capfd):
    data = dicom(RAMP, NumberOfFrames=9).replace(b"1.2.3\0", b"Doe^Ja")  # a value of the wrong form, which is warned of
    with caplog.at_level(logging.DEBUG), pytest.raises(ImageError) as refusal:
        decode(data)
    seen = caplog.text + "".join(capfd.readouterr()) + str(refusal.value)
    assert "Doe" not in seen


def test_a_deflated_file_is_inflated():
    assert grey(dicom(RAMP, syntax=DeflatedExplicitVRLittleEndian)) == [[0, 85, 170, 255]]


def test_the_frames_of_a_file_are_counted_and_each_is_read_by_its_number():
    values = np.zeros((3, 2, 2), dtype=np.uint8)
    values[2, 0, 0] = 200
    data = dicom(values, NumberOfFrames=3)
    assert count_images(data) == 3
    assert np.asarray(decode(FilePage.of(data, "digest", 2)))[0, 0, 0] == 255
    assert not np.asarray(decode(data, frame=0)).any()
    assert count_images(dicom(values[0])) == 1
    assert count_images(data[:140]) == 1


@pytest.mark.parametrize("frames", [-1, 4, 4097, 2**40])
def test_a_file_that_has_other_frames_than_it_says_or_too_many_counts_as_one_image(frames):
    assert count_images(dicom(np.zeros((3, 2, 2), dtype=np.uint8), NumberOfFrames=frames)) == 1


@pytest.mark.parametrize("values", [RAMP, np.array([[-100, 0, 100, 300]], dtype=np.int16)], ids=["unsigned", "signed"])
def test_values_in_the_high_bits_are_read_and_in_the_low_ones_where_the_header_is_wrong(values):
    tags = {"BitsStored": 12, "WindowCenter": 101, "WindowWidth": 201}
    right = grey(dicom(values, HighBit=11, **tags))
    assert grey(dicom(values << 4, HighBit=15, **tags)) == right
    assert grey(dicom(values, HighBit=15, **tags)) == right


def test_frames_of_single_bits_may_begin_within_a_byte():
    frames = np.random.default_rng(0).integers(0, 2, (3, 3, 5)).astype(np.uint8)
    packed = np.packbits(frames.ravel(), bitorder="little").tobytes()
    data = dicom(frames, NumberOfFrames=3, BitsAllocated=1, BitsStored=1, HighBit=0, PixelData=packed)
    shown = [np.asarray(decode(data, frame=number))[..., 0] // 255 for number in range(3)]
    assert np.array_equal(shown, frames)


@pytest.mark.parametrize(
    ("syntax", "name"),
    [
        ("1.2.840.10008.1.2.4.110", "JPEG XL"),
        ("1.2.840.10008.1.2.4.102", "MPEG-4 AVC/H.264 High Profile / Level 4.1"),
        ("1.2.840.19999.1.2.4.102", "an unknown method"),
    ],
)
def test_what_is_compressed_in_a_way_that_is_not_read_is_refused_by_its_name(syntax, name):
    stand_in = "1.2.840.10008.1.2.4.201"  # pydicom writes no syntax that it does not know
    written = dicom(RAMP, syntax=UID(stand_in), PixelData=encapsulate([b"1234"]))
    data = written.replace(stand_in.encode(), syntax.encode())
    with pytest.raises(ImageError, match=f"is compressed with {name}, which is not read"):
        decode(data)


@pytest.mark.parametrize("name", ["JPEGLSNearLossless_16.dcm", "JPEG2000.dcm", "jpeg"])
def test_a_compressed_frame_whose_header_has_rows_and_columns_the_other_way_round_is_read_as_it_was_compressed(name):
    data = jpeg_file() if name == "jpeg" else (FILES / name).read_bytes()
    turned = pydicom.dcmread(io.BytesIO(data))
    turned.Rows, turned.Columns = turned.Columns, turned.Rows
    file = io.BytesIO()
    turned.save_as(file)
    assert np.array_equal(np.asarray(decode(file.getvalue())), np.asarray(decode(data)))


def jpeg_file():
    stream = io.BytesIO()
    values = np.repeat(np.arange(8, dtype=np.uint8)[:, None] * 30, 32, axis=1)
    Image.fromarray(values).save(stream, "JPEG")
    return dicom(values, syntax=JPEGBaseline8Bit, PixelData=encapsulate([stream.getvalue()]))
