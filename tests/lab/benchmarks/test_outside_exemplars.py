"""What the benchmark of exemplars from outside does to images."""

import numpy as np
import pytest
from PIL import Image

from clinical_backend.lab.benchmarks.outside_exemplars import ARMS, Arm, shifted


@pytest.fixture
def image():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8))


def spread(image):
    return np.asarray(image).astype(float).std()


def test_each_shift_changes_the_look_and_keeps_the_size(image):
    for shift in ("contrast", "blur", "colour", "all"):
        after = shifted(image, shift)
        assert (after.size, after.mode) == (image.size, "RGB")
        assert np.abs(np.asarray(after).astype(int) - np.asarray(image)).mean() > 5
    assert np.array_equal(np.asarray(shifted(image, "")), np.asarray(image))


def test_contrast_and_sharpness_fall_and_red_rises(image):
    assert spread(shifted(image, "contrast")) < 0.6 * spread(image)
    assert spread(shifted(image, "blur")) < 0.5 * spread(image)
    red, _, blue = np.asarray(shifted(image, "colour")).reshape(-1, 3).mean(axis=0)
    assert red > blue + 30


def test_every_arm_has_a_name_of_its_own():
    assert len({arm.name for arm in ARMS}) == len(ARMS)
    assert (Arm().name, Arm(own=1).name, Arm(outside=3, shift="blur").name) == ("none", "1 own", "3 outside, blur")
