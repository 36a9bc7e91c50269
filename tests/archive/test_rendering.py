"""Pictures are PNG files that show what a workstation would, grey ones in one channel."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from clinical_backend.archive.rendering import PictureMaker
from clinical_backend.errors import ImageError
from tests.archive.conftest import content, dicom


@pytest.fixture(scope="module")
def maker():
    made = PictureMaker(1)
    yield made
    made.close()


def shown(png):
    return Image.open(io.BytesIO(png))


def test_each_frame_is_a_picture_of_its_own(maker):
    frames = np.stack([np.full((8, 8), level, dtype=np.uint16) for level in (0, 100, 200)])
    data = content(dicom(frames, WindowCenter=100.5, WindowWidth=201))
    levels = [int(np.asarray(shown(maker.make(data, frame))).mean()) for frame in range(3)]
    assert levels[0] < levels[1] < levels[2]
    assert int(np.asarray(shown(maker.make(data))).mean()) == levels[1]
    with pytest.raises(ImageError, match="3 frames"):
        maker.make(data, 3)


def test_grey_is_kept_in_one_channel_and_colour_in_three(maker):
    assert shown(maker.make(content(dicom()))).mode == "L"
    colours = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    coloured = dicom(
        SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0, BitsAllocated=8, BitsStored=8,
        HighBit=7, PixelData=colours.tobytes(),
    )  # fmt: skip
    picture = shown(maker.make(content(coloured)))
    assert picture.mode == "RGB"
    assert (np.asarray(picture) == colours).all()


def test_what_is_no_image_is_refused(maker):
    with pytest.raises(ImageError):
        maker.make(b"\0" * 128 + b"DICM and no more")
