"""Pixels that are no squares become squares, as a workstation draws them."""

import numpy as np
import pytest
from pydicom.dataset import Dataset

from clinical_backend.images.decoders.decoding import decode
from tests.images.decoders.dicoms import dicom

EDGE = np.repeat(np.array([[0, 100], [0, 100]], dtype=np.uint16), 2, axis=1)  # of two rows and four columns


def shown(**tags):
    return np.asarray(decode(dicom(EDGE, WindowCenter=50.5, WindowWidth=101, **tags)))


@pytest.mark.parametrize(
    ("spacing", "size"),
    [
        (["2", "1"], (4, 4)),
        (["1", "2"], (2, 8)),
        (["3", "3"], (2, 4)),
        (["1", "1.005"], (2, 4)),
        (["1", "0"], (2, 4)),
        (["-2", "1"], (2, 4)),
        (["1", "1000"], (2, 4)),
        ("2", (2, 4)),
    ],
)
def test_the_shorter_side_of_a_pixel_is_made_as_long_as_the_other(spacing, size):
    pixels = shown(PixelSpacing=spacing)
    assert pixels.shape[:2] == size
    assert (pixels[:, 0].max(), pixels[:, -1].min()) == (0, 255)  # nothing is cut off


@pytest.mark.parametrize("name", ["ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio"])
def test_every_way_to_say_the_shape_of_a_pixel_is_known(name):
    assert shown(**{name: ["2", "1"]}).shape[:2] == (4, 4)


def test_the_spacing_counts_before_the_ratio_and_that_of_a_frame_before_both():
    assert shown(PixelSpacing=["1", "1"], PixelAspectRatio=["2", "1"]).shape[:2] == (2, 4)
    measures, group = Dataset(), Dataset()
    measures.PixelSpacing = ["2", "1"]
    group.PixelMeasuresSequence = [measures]
    assert shown(SharedFunctionalGroupsSequence=[group], PixelSpacing=["1", "1"]).shape[:2] == (4, 4)


@pytest.mark.parametrize(
    ("shape", "ratio", "size"), [((8, 8), 4, (4, 16)), ((8, 8), 3, (4, 13)), ((64, 1), 20, (1, 64))]
)
def test_an_image_that_would_have_too_many_pixels_is_made_smaller(shape, ratio, size):
    data = dicom(np.zeros(shape, np.uint16), PixelSpacing=[str(ratio), "1"])
    assert decode(data, pixel_limit=64).size == size
