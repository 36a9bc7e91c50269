"""How far the cases of a share carry it."""

import pytest
from scipy.stats import binomtest

from clinical_backend.findings.interval import interval_of_share


@pytest.mark.parametrize(("hits", "cases"), [(0, 1), (2, 2), (7, 8), (0, 19), (10, 20), (40, 42), (42, 42)])
def test_a_share_is_stated_from_twenty_cases_on_and_its_interval_is_that_of_clopper_and_pearson(hits, cases):
    found = interval_of_share(hits, cases)
    exact = binomtest(hits, cases).proportion_ci(method="exact")
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))
    assert found.estimate == (hits / cases if cases >= 20 else None)
