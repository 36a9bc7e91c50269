"""The whole image fits into the square, unstretched."""

import numpy as np
import pytest
from PIL import Image

from clinical_backend.learner.backbones.preprocessing import to_square


@pytest.mark.parametrize("size", [(100, 50), (50, 100), (64, 64), (3, 2000), (1, 1), (40, 20)])
def test_proportions_are_kept_and_the_rest_is_black(size):
    square = to_square(Image.new("RGB", size, (255, 255, 255)), 40)
    white = square.all(axis=2)
    rows, columns = white.any(axis=1).sum(), white.any(axis=0).sum()
    assert square.shape == (40, 40, 3)
    assert square.dtype == np.uint8
    assert (columns, rows) == tuple(max(1, round(40 * side / max(size))) for side in size)
    assert white.sum() == rows * columns


def test_the_image_stands_in_the_middle():
    white = to_square(Image.new("RGB", (100, 50), (255, 255, 255)), 40)[..., 0] > 0
    assert white.any(axis=1).nonzero()[0].tolist() == list(range(10, 30))


def test_an_image_of_the_right_size_is_unchanged():
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert np.array_equal(to_square(Image.fromarray(image), 32), image)


@pytest.mark.parametrize("size", [(32, 32), (20, 32)])
def test_pixels_are_taken_as_their_image(size):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert np.array_equal(to_square(pixels, 32), to_square(Image.fromarray(pixels), 32))
