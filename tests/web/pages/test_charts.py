import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical_backend.findings.interval import Interval
from clinical_backend.rounds.chances import ChanceBin
from clinical_backend.web.pages.charts import bars, chances_chart, found_chart, ticks


def coordinates(path):
    return [float(number) for number in re.findall(r"-?\d+\.?\d*", path)]


@given(st.floats(1e-6, 1e9))
def test_marks_are_even_begin_at_nought_and_reach_the_highest(highest):
    marks = ticks(highest)
    assert marks[0] == 0
    assert marks[-1] >= highest * (1 - 1e-6)
    assert 2 <= len(marks) <= 12
    assert all(after > before for before, after in itertools.pairwise(marks))


counts = st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=60)


@given(counts, st.none() | st.floats(0, 1))
def test_nothing_is_drawn_outside_the_field(steps, share):
    curve, labels, found = [], 0, 0
    for more, rare in steps:
        labels += more + 1
        found += rare
        curve.append((labels, found))
    prevalence = None if share is None else Interval(share, share / 2, min(1.0, share * 2))
    chart = found_chart(curve, prevalence)
    for path in (chart.line, chart.reference, chart.band):
        # Coordinates come in pairs but for the stairs, whose steps alternate between across and up.
        values = coordinates(path)
        assert all(chart.left <= x <= chart.right + 0.1 for x in values[::2])
        assert all(chart.top - 0.1 <= y <= chart.bottom for y in values[1::2])
    assert bool(chart.line) == bool(curve)
    assert bool(chart.reference) == (prevalence is not None and bool(curve))


def test_random_order_ends_where_the_prevalence_says():
    chart = found_chart([(100, 20)], Interval(0.1, 0.05, 0.2))
    end = chart.end
    middle = coordinates(chart.reference)[-2:]
    assert end == (chart.right, chart.top)
    assert middle == [chart.right, pytest.approx((chart.top + chart.bottom) / 2, abs=0.1)]


def test_a_bound_alone_is_drawn_as_an_area_below_it_without_a_line():
    chart = found_chart([(100, 20)], Interval(None, None, 0.1))
    assert chart.reference == ""
    corners = coordinates(chart.band)
    assert corners[2:4] == [chart.right, pytest.approx((chart.top + chart.bottom) / 2, abs=0.1)]
    assert corners[4:] == [chart.right, chart.bottom]


def test_the_diagonal_runs_from_corner_to_corner_and_each_bin_has_its_dot():
    chart = chances_chart([ChanceBin(0.0, 0, 5), ChanceBin(1.0, 5, 5)])
    assert coordinates(chart.reference) == [chart.left, chart.bottom, chart.right, chart.top]
    assert chart.dots == ((chart.left, chart.bottom), (chart.right, chart.top))
    assert chances_chart([]).line == ""


def test_bars_share_one_scale_and_the_smallest_is_still_seen():
    drawn = bars([0, 500, 1], 500, width=30, height=40)
    assert drawn == [(10.0, 0.0, 8.0, 40.0), (20.0, 38.0, 8.0, 2.0)]
    assert bars([250], 500, width=30, height=40) == [(0.0, 20.0, 24.0, 20.0)]
    assert bars([0, 0], 0) == bars([], 0) == []
