"""A window shows a part of what a file holds, at the file's own depth."""

import io

import numpy as np
import pytest
from PIL import Image

from clinical_backend.images.decoders.decoding import decode, may_be_deep
from clinical_backend.images.decoders.levels import Window
from clinical_backend.images.decoders.process_pool import DecoderProcesses
from tests.images.decoders.dicoms import dicom
from tests.images.decoders.pngs import png
from tests.images.decoders.tiffs import tiff

DEEP = np.array([[0, 1000, 1064, 1128, 65535]], dtype=np.uint16)
"""The three in the middle differ by a quarter of a level."""
NARROW = Window(4, 1)
"""Values 896 to 1,152."""
WHOLE = Window(128, 256)


def plain(values):
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "PNG")
    return stream.getvalue()


FILES = {
    "PNG": png(DEEP, 16, 0),
    "PNG with opacity": png(np.stack([DEEP, np.full_like(DEEP, 65535)], axis=-1), 16, 4),
    "TIFF": tiff(DEEP),
    "TIFF of inverted grey": tiff(65535 - DEEP, photometric=0),
    "DICOM": dicom(DEEP),
    "DICOM with a window": dicom(DEEP, WindowCenter=32768, WindowWidth=65535),
    "DICOM of inverted grey": dicom(65535 - DEEP, PhotometricInterpretation="MONOCHROME1"),
}


def grey(data, window=None):
    return np.asarray(decode(data, window=window))[0, :, 0].tolist()


@pytest.mark.parametrize("kind", FILES)
def test_a_narrow_window_shows_steps_that_8_bits_do_not_hold(kind):
    data = FILES[kind]
    assert may_be_deep(data)
    shown = grey(data)
    assert shown[2] - shown[1] <= 1
    black, first, second, third, white = grey(data, NARROW)
    assert (black, white) == (0, 255)
    assert second - first == pytest.approx(64, abs=3)
    assert third - second == pytest.approx(64, abs=3)


@pytest.mark.parametrize("kind", FILES)
def test_the_whole_window_changes_nothing(kind):
    assert np.abs(np.subtract(grey(FILES[kind], WHOLE), grey(FILES[kind]))).max() <= 1


def test_a_window_reaches_beyond_what_the_files_own_shows():
    data = dicom(np.array([[0, 100, 200, 300]], dtype=np.uint16), WindowCenter=50, WindowWidth=100)
    assert grey(data)[1:] == [255, 255, 255]
    assert grey(data, Window(384, 768)) == pytest.approx([0, 85, 170, 255], abs=1)


@pytest.mark.parametrize(
    "data",
    [
        plain(np.array([[0, 64, 128, 192, 255]], dtype=np.uint8)),
        tiff(np.array([[0, 64, 128, 192, 255]], dtype=np.uint8)),
        tiff(np.array([[255, 191, 127, 63, 0]], dtype=np.uint8), photometric=0),
        plain(np.repeat(np.array([[0, 64, 128, 192, 255]], dtype=np.uint8)[..., None], 3, axis=2)),
        dicom(np.repeat(np.array([[0, 64, 128, 192, 255]], dtype=np.uint8)[..., None], 3, axis=2)),
    ],
)
def test_8_bits_are_spread_by_a_window_too(data):
    assert grey(data, Window(128, 128)) == pytest.approx([0, 0, 128, 255, 255], abs=2)


def test_8_bits_are_known_by_their_beginning_but_in_tiff():
    assert not may_be_deep(plain(np.zeros((2, 2), dtype=np.uint8)))
    assert not may_be_deep(b"")
    assert not may_be_deep(b"\xff\xd8\xff")


def test_the_guarded_process_is_told_of_the_window():
    decoders = DecoderProcesses(processes=1)
    try:
        data = FILES["PNG"]
        assert decoders.decode(data)[0, 2, 0] - decoders.decode(data)[0, 1, 0] <= 1
        shown = decoders.decode(data, window=NARROW)[0, :, 0].tolist()
        assert shown == grey(data, NARROW)
    finally:
        decoders.close()
