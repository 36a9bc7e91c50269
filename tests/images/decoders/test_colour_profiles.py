"""The colours of an ICC profile become those of sRGB; a profile of no use changes nothing."""

import numpy as np
import pytest
from PIL import ImageCms
from pydicom.dataset import Dataset

from clinical_backend.images.decoders.decoding import decode
from tests.images.decoders.dicoms import RAMP, dicom

COLOURS = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
OTHER = SRGB.replace(b"rXYZ", b"swap", 1).replace(b"gXYZ", b"rXYZ", 1).replace(b"swap", b"gXYZ", 1)
"""A profile whose red is what green is in sRGB, and the other way round."""


def shown(**tags):
    return np.asarray(decode(dicom(COLOURS, **tags))).astype(int)


def test_colours_are_converted_as_the_profile_says():
    assert np.abs(shown(ICCProfile=OTHER) - COLOURS[..., [1, 0, 2]]).max() <= 2
    path = Dataset()
    path.ICCProfile = OTHER
    assert np.array_equal(shown(OpticalPathSequence=[path]), shown(ICCProfile=OTHER))


@pytest.mark.parametrize(
    "profile",
    [
        SRGB,
        OTHER[:200],
        b"",
        b"no profile",
        ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes(),
    ],
    ids=["sRGB", "cut off", "empty", "none", "of another space"],
)
def test_a_profile_that_says_nothing_changes_nothing(profile):
    assert np.array_equal(shown(ICCProfile=profile), COLOURS)


def test_grey_has_no_colours_to_convert():
    assert np.array_equal(np.asarray(decode(dicom(RAMP, ICCProfile=OTHER))), np.asarray(decode(dicom(RAMP))))
