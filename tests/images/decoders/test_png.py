"""PNG of every depth and colour type, with all that can be transparent, from files written by the specification."""

import struct

import numpy as np
import pytest

from clinical_backend.images.decoders.decoding import decode
from tests.images.decoders.pngs import png

ROWS, COLUMNS = 30, 24
RAMP = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS) / (ROWS * COLUMNS - 1)
COLOURS = np.stack([RAMP, 1 - RAMP, RAMP**2], axis=-1)
OPACITY = np.where(np.arange(COLUMNS) < 12, 1.0, 0.25) * np.ones((ROWS, 1))


def off(data, levels):
    """Return by how much an image differs at most from levels of 0 to 255."""
    levels = levels if levels.ndim == 3 else levels[..., None]
    return float(np.abs(np.asarray(decode(data)).astype(float) - levels).max())


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("transparent", [False, True])
def test_grey_of_every_depth_is_read_and_its_transparent_value_is_black(depth, transparent, interlaced):
    values = np.rint(RAMP * (2**depth - 1)).astype(int)
    levels = values * 255 / (2**depth - 1)
    chunks = {}
    if transparent:
        value = int(values[20, 20])
        chunks["tRNS"] = struct.pack(">H", value)
        levels = np.where(values == value, 0, levels)
    assert off(png(values, depth, 0, interlaced=interlaced, **chunks), levels) <= 1


def test_a_transparent_value_does_not_count_in_the_range_of_16_bit_grey():
    data = png(np.array([[100, 200, 65535]]), 16, 0, tRNS=struct.pack(">H", 65535))
    assert np.asarray(decode(data))[0, :, 0].tolist() == [0, 255, 0]


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("most", [4095, 65535])
def test_16_bit_grey_with_opacity_keeps_its_low_bytes(most, interlaced):
    values = np.rint(np.stack([RAMP * most, OPACITY * 65535], axis=-1)).astype(int)
    assert off(png(values, 16, 4, interlaced=interlaced), 255 * RAMP * OPACITY) <= 2


def test_what_is_transparent_does_not_count_in_the_range_of_16_bit_grey():
    data = png(np.array([[[100, 65535], [200, 65535], [60000, 0]]]), 16, 4)
    assert np.asarray(decode(data))[0, :, 0].tolist() == [0, 255, 0]


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("depth", [8, 16])
def test_a_transparent_colour_is_compared_in_all_its_bits(depth, interlaced):
    values = np.rint(COLOURS * (2**depth - 2)).astype(int)
    colour = values[20, 20].copy()
    values[:5], values[5] = colour, colour + np.array([1, 0, 0])
    levels = np.where((values == colour).all(axis=-1, keepdims=True), 0, values >> (depth - 8))
    data = png(values, depth, 2, interlaced=interlaced, tRNS=struct.pack(">HHH", *colour.tolist()))
    assert off(data, levels) == 0


@pytest.mark.parametrize("depth", [8, 16])
def test_colour_with_opacity_is_laid_on_black(depth):
    values = np.rint(np.concatenate([COLOURS, OPACITY[..., None]], axis=-1) * (2**depth - 1)).astype(int)
    assert off(png(values, depth, 6), 255 * COLOURS * OPACITY[..., None]) <= 2


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("transparent", [False, True])
def test_a_palette_is_looked_up_with_its_opacities(depth, transparent):
    random = np.random.default_rng(depth)
    values = random.integers(0, 2**depth, (ROWS, COLUMNS))
    colours, opacity = random.integers(0, 256, (2**depth, 3)), np.full(2**depth, 255)
    chunks = {"PLTE": colours.astype(np.uint8).tobytes()}
    if transparent:
        opacity[: 2 ** (depth - 1)] = random.integers(0, 256, 2 ** (depth - 1))
        chunks["tRNS"] = opacity[: 2 ** (depth - 1)].astype(np.uint8).tobytes()
    assert off(png(values, depth, 3, **chunks), (colours * opacity[:, None] / 255)[values]) <= 1
