"""The simulated projects that the intervals of model cards are measured on."""

from __future__ import annotations

import numpy as np

from clinical_backend.lab.benchmarks.card import FIGURES, compare


def test_what_a_card_says_is_compared_with_the_truth_of_all_tasks():
    compared = [compare(np.random.default_rng(seed), share=0.2, images=2, audit=0.3) for seed in range(3)]
    assert set().union(*compared) == set(FIGURES)
    for figures in compared:
        for truth, interval in figures.values():
            assert -1 <= truth <= 1
            assert interval.low <= interval.estimate <= interval.high
