"""What ``backbones/preprocessing.py`` does to an image, as operators of ONNX that give the same bytes as Pillow.

Pillow resamples 8-bit images with whole numbers: weights of 22 binary digits, sums rounded and clipped after each of
the two passes, and before them, where an image is far too large, means of boxes of whole pixels. From Pillow 13 on the
passes change places where more than twice as many rows as columns go (its pull request 9549). ONNX's own ``Resize``
does none of this, and its results differ by one in 255 in many pixels. Here the weights are computed for the size of
the image at hand, and the sums in float64, which holds them exactly.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import onnx.parser
import PIL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx import FunctionProto

__all__ = ["DOMAIN", "letterbox_functions", "parsed_functions"]

DOMAIN = "clinical_backend"
"""Of functions that are written out before a model is kept: no other runtime has to know it."""

_TALL_FIRST = 13
"""Major version of Pillow from which on tall images are resampled downwards first."""

# Weights of bicubic resampling with a = -1/2 (Keys 1981), for all `out` places among `length` pixels, of which those
# up to `extent` are resampled: shape (out, length), whole numbers of 2⁻²².
_WEIGHTS = """
resample_weights (length, extent, out) => (weights) {
  zero = Constant <value = int64 {0}> ()
  one = Constant <value = int64 {1}> ()
  half = Constant <value = double {0.5}> ()
  unit = Constant <value = double {1.0}> ()
  two = Constant <value = double {2.0}> ()
  extent_d = Cast <to = 11> (extent)
  out_d = Cast <to = 11> (out)
  scale = Div (extent_d, out_d)
  stretch = Max (scale, unit)
  support = Mul (two, stretch)
  inverse = Div (unit, stretch)
  last_axis = Constant <value = int64[1] {1}> ()
  first_axis = Constant <value = int64[1] {0}> ()
  places = Range (zero, out, one)
  places_d = Cast <to = 11> (places)
  middles = Add (places_d, half)
  centres_flat = Mul (middles, scale)
  centres = Unsqueeze (centres_flat, last_axis)
  low_d = Sub (centres, support)
  low_half = Add (low_d, half)
  low = Cast <to = 7> (low_half)
  high_d = Add (centres, support)
  high_half = Add (high_d, half)
  high = Cast <to = 7> (high_half)
  pixels_flat = Range (zero, length, one)
  pixels = Unsqueeze (pixels_flat, first_axis)
  from_low = GreaterOrEqual (pixels, low)
  to_high = Less (pixels, high)
  inside = And (from_low, to_high)
  pixels_d = Cast <to = 11> (pixels)
  offsets = Sub (pixels_d, centres)
  offsets_half = Add (offsets, half)
  offsets_scaled = Mul (offsets_half, inverse)
  x = Abs (offsets_scaled)
  c_a = Constant <value = double {1.5}> ()
  c_b = Constant <value = double {2.5}> ()
  near_1 = Mul (c_a, x)
  near_2 = Sub (near_1, c_b)
  near_3 = Mul (near_2, x)
  near_4 = Mul (near_3, x)
  near = Add (near_4, unit)
  c_c = Constant <value = double {5.0}> ()
  c_d = Constant <value = double {8.0}> ()
  c_e = Constant <value = double {4.0}> ()
  c_f = Constant <value = double {-0.5}> ()
  far_1 = Sub (x, c_c)
  far_2 = Mul (far_1, x)
  far_3 = Add (far_2, c_d)
  far_4 = Mul (far_3, x)
  far_5 = Sub (far_4, c_e)
  far_6 = Mul (far_5, c_f)
  naught = Constant <value = double {0.0}> ()
  is_near = Less (x, unit)
  is_far = Less (x, two)
  far = Where (is_far, far_6, naught)
  curve = Where (is_near, near, far)
  kept = Where (inside, curve, naught)
  sums = ReduceSum <keepdims = 1> (kept, last_axis)
  shares = Div (kept, sums)
  precision = Constant <value = double {4194304.0}> ()
  scaled = Mul (shares, precision)
  sizes = Abs (scaled)
  sizes_half = Add (sizes, half)
  whole = Floor (sizes_half)
  signs = Sign (scaled)
  weights = Mul (signs, whole)
}
"""

# Sums of weights of 2⁻²² and bytes, rounded to bytes.
_ROUNDED = """
rounded (sums) => (bytes) {
  half = Constant <value = double {2097152.0}> ()
  precision = Constant <value = double {4194304.0}> ()
  least = Constant <value = double {0.0}> ()
  most = Constant <value = double {255.0}> ()
  shifted = Add (sums, half)
  divided = Div (shifted, precision)
  whole = Floor (divided)
  bytes = Clip (whole, least, most)
}
"""

# How one side is reduced before it is resampled, with Pillow's `reducing_gap=3.0`: the pixels of each box, how many of
# them the image has in each, and what is resampled of the boxes.
_BOXES = """
boxes (length, out) => (factor, count, added, within, extent) {
  one = Constant <value = int64 {1}> ()
  zero = Constant <value = int64 {0}> ()
  gap = Constant <value = double {3.0}> ()
  length_d = Cast <to = 11> (length)
  out_d = Cast <to = 11> (out)
  ratio = Div (length_d, out_d)
  gaps = Div (ratio, gap)
  gaps_whole = Cast <to = 7> (gaps)
  factor = Max (gaps_whole, one)
  factor_less = Sub (factor, one)
  length_more = Add (length, factor_less)
  count = Div (length_more, factor)
  covered = Mul (count, factor)
  added = Sub (covered, length)
  places = Range (zero, count, one)
  starts = Mul (places, factor)
  left = Sub (length, starts)
  within = Min (left, factor)
  factor_d = Cast <to = 11> (factor)
  extent_d = Div (length_d, factor_d)
  extent = Cast <to = 1> (extent_d)
}
"""

# An image of shape (height, width, 3), uint8, resized to (rows, columns, 3).
_RESIZED = """
resized (image, rows, columns) => (small) {
  shape = Shape (image)
  at_0 = Constant <value = int64 {0}> ()
  at_1 = Constant <value = int64 {1}> ()
  height = Gather (shape, at_0)
  width = Gather (shape, at_1)
  factor_y, count_y, added_y, within_y, extent_y = clinical_backend.boxes (height, rows)
  factor_x, count_x, added_x, within_x, extent_x = clinical_backend.boxes (width, columns)
  axis_0 = Constant <value = int64[1] {0}> ()
  axis_1 = Constant <value = int64[1] {1}> ()
  axis_2 = Constant <value = int64[1] {2}> ()
  none = Constant <value = int64[1] {0}> ()
  none_2 = Constant <value = int64[2] {0, 0}> ()
  channels = Constant <value = int64[1] {3}> ()
  added_y1 = Unsqueeze (added_y, axis_0)
  added_x1 = Unsqueeze (added_x, axis_0)
  pads = Concat <axis = 0> (none_2, none, added_y1, added_x1, none)
  padded = Pad (image, pads)
  factor_y1 = Unsqueeze (factor_y, axis_0)
  factor_x1 = Unsqueeze (factor_x, axis_0)
  count_y1 = Unsqueeze (count_y, axis_0)
  count_x1 = Unsqueeze (count_x, axis_0)
  by_box = Concat <axis = 0> (count_y1, factor_y1, count_x1, factor_x1, channels)
  boxed = Reshape (padded, by_box)
  boxed_i = Cast <to = 6> (boxed)
  axes = Constant <value = int64[2] {1, 3}> ()
  sums_i = ReduceSum <keepdims = 0> (boxed_i, axes)
  sums = Cast <to = 7> (sums_i)
  within_column = Unsqueeze (within_y, axis_1)
  within_row = Unsqueeze (within_x, axis_0)
  pixels_flat = Mul (within_column, within_row)
  pixels = Unsqueeze (pixels_flat, axis_2)
  half = Constant <value = int64 {2}> ()
  amends = Div (pixels, half)
  largest = Constant <value = int64 {16777216}> ()
  multipliers = Div (largest, pixels)
  amended = Add (sums, amends)
  multiplied = Mul (amended, multipliers)
  means = Div (multiplied, largest)
  planes_last = Cast <to = 11> (means)
  planes = Transpose <perm = [2, 0, 1]> (planes_last)
  weights_x = clinical_backend.resample_weights (count_x, extent_x, columns)
  weights_y = clinical_backend.resample_weights (count_y, extent_y, rows)
  weights_x_t = Transpose <perm = [1, 0]> (weights_x)
  sums_x = MatMul (planes, weights_x_t)
  across = clinical_backend.rounded (sums_x)
  sums_xy = MatMul (weights_y, across)
  across_down = clinical_backend.rounded (sums_xy)
  sums_y = MatMul (weights_y, planes)
  down = clinical_backend.rounded (sums_y)
  sums_yx = MatMul (down, weights_x_t)
  down_across = clinical_backend.rounded (sums_yx)
  zero = Constant <value = int64 {0}> ()
  lost_y = Sub (count_y, rows)
  lost_x = Sub (count_x, columns)
  narrowed = Max (lost_x, zero)
  twice = Mul (half, narrowed)
  is_tall = Greater (lost_y, twice)
  knows_tall = Constant <value = bool {TALL_FIRST}> ()
  down_first = And (is_tall, knows_tall)
  both = Where (down_first, down_across, across_down)
  last = Transpose <perm = [1, 2, 0]> (both)
  small = Cast <to = 2> (last)
}
"""

# An image of shape (height, width, 3), uint8, in a square of `size`, on black: shape (size, size, 3), uint8.
_LETTERBOX = """
letterbox (image, size) => (square) {
  shape = Shape <end = 2> (image)
  longest = ReduceMax <keepdims = 0> (shape)
  size_d = Cast <to = 11> (size)
  longest_d = Cast <to = 11> (longest)
  scale = Div (size_d, longest_d)
  sides_d = Cast <to = 11> (shape)
  scaled = Mul (sides_d, scale)
  rounded_d = Round (scaled)
  rounded_i = Cast <to = 7> (rounded_d)
  one = Constant <value = int64 {1}> ()
  sides = Max (rounded_i, one)
  at_0 = Constant <value = int64 {0}> ()
  rows = Gather (sides, at_0)
  columns = Gather (sides, one)
  small = clinical_backend.resized (image, rows, columns)
  empty = Sub (size, sides)
  two = Constant <value = int64 {2}> ()
  before = Div (empty, two)
  after = Sub (empty, before)
  none = Constant <value = int64[1] {0}> ()
  pads = Concat <axis = 0> (before, none, after, none)
  square = Pad (small, pads)
}
"""

# As `to_fitting_square`: the smallest of the sizes, which rise, that is no smaller than the image, or the largest.
_FITTING = """
fitting_size (image, sizes) => (size) {
  shape = Shape <end = 2> (image)
  longest = ReduceMax <keepdims = 0> (shape)
  fits = GreaterOrEqual (sizes, longest)
  largest = ReduceMax <keepdims = 0> (sizes)
  fitting = Where (fits, sizes, largest)
  size = ReduceMin <keepdims = 0> (fitting)
}
"""


@cache
def letterbox_functions(opset: int) -> tuple[FunctionProto, ...]:
    """Return the functions ``letterbox(image, size)`` and ``fitting_size(image, sizes)``, with those that they call.

    Parameters
    ----------
    opset
        Version of ONNX's operators that they are written out in; 18 or newer.
    """
    tall_first = int(PIL.__version__.partition(".")[0]) >= _TALL_FIRST
    resized = _RESIZED.replace("TALL_FIRST", str(int(tall_first)))
    return parsed_functions((_WEIGHTS, _ROUNDED, _BOXES, resized, _LETTERBOX, _FITTING), opset)


def parsed_functions(texts: Sequence[str], opset: int) -> tuple[FunctionProto, ...]:
    """Return functions of ``DOMAIN`` that are given as ONNX's text, written in a version of its operators."""
    head = f'<domain: "{DOMAIN}", opset_import: ["" : {opset}, "{DOMAIN}" : 1]>'
    return tuple(onnx.parser.parse_function(head + text) for text in texts)
