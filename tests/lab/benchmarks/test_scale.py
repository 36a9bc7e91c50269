"""The scale benchmark: what it measures."""

from __future__ import annotations

import numpy as np

from clinical_backend.lab.benchmarks.scale import measure


def test_parts_are_measured_beside_the_whole_with_the_same_picks():
    results = list(measure(3000, 8, ray=False))
    assert [result.where for result in results] == ["whole", "2 shards", "4 shards"] * 6
    assert {(result.exemplars, result.function) for result in results} == {
        (exemplars, function) for exemplars in ("alike", "mixed") for function in ("flqmi", "gcmi", "com")
    }
    for result in results:
        assert result.seconds > 0
        if result.where == "whole":
            whole = result
        else:
            np.testing.assert_array_equal(result.picks, whole.picks)
            assert result.found is not None
            assert result.found.received > 0
