"""Half precision: the same numbers as NumPy's, in whatever blocks."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from clinical_backend.learner.half_precision import as_single, blocks_in_single

SHAPES = array_shapes(min_dims=2, max_dims=2, max_side=12)


def test_every_number_is_the_same():
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite = every[np.isfinite(every)]
    for halves in (every, finite, finite.reshape(-1, 2)):
        assert np.array_equal(as_single(halves).view(np.uint32), halves.astype(np.float32).view(np.uint32))


@given(arrays(np.float16, SHAPES), st.integers(1, 5), st.integers(1, 3), st.booleans())
def test_blocks_hold_all_rows_in_order(halves, size, step, first_part):
    rows = halves[::step, : 1 + halves.shape[1] // 2] if first_part else halves[::step]
    found = [(start, block.copy()) for start, block in blocks_in_single(rows, size)]
    assert [start for start, _ in found] == list(range(0, len(rows), size))
    assert all(block.dtype == np.float32 for _, block in found)
    assert np.array_equal(np.concatenate([block for _, block in found]), rows.astype(np.float32), equal_nan=True)
    assert np.array_equal(as_single(rows), rows.astype(np.float32), equal_nan=True)


def test_what_is_single_is_not_copied():
    rows = np.ones((5, 3), dtype=np.float32)
    assert as_single(rows) is rows
    assert all(np.shares_memory(block, rows) for _, block in blocks_in_single(rows, 2))
