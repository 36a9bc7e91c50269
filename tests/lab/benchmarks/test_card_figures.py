"""The figures of a card computed a second time: equal where they are right, and apart where they are not."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical_backend.findings.cases import JudgedCases
from clinical_backend.findings.performance import measure
from clinical_backend.lab.benchmarks.card_figures import compare

CLASSES = ("bkl", "mel", "nv")


def judged(seed, *, weighted):
    """Return cases with their subgroups, and the card of them as JSON has it."""
    generator = np.random.default_rng(seed)
    codes = generator.integers(0, 3, 240)
    labels = [CLASSES[code] for code in codes]
    truth = np.eye(3)[codes]
    probabilities = generator.dirichlet(np.ones(3), 240) * 0.6 + truth * 0.4
    weights = generator.choice([0.5, 3.0, 17.0], 240) if weighted else np.ones(240)
    ages = [float(age) if age else None for age in generator.integers(0, 90, 240)]
    fields = {"sex": [*generator.choice(["female", "male"], 240)], "age": ages}
    drawn = np.ones(240, dtype=np.bool_)
    cases = JudgedCases(CLASSES, truth, probabilities, np.arange(240), weights, drawn, None, fields)
    found = measure(cases, replications=10)
    card = {
        "classes": [asdict(one) for one in found.classes],
        "subgroups": [asdict(one) for one in found.subgroups],
    }
    texts = {name: ["" if one is None else str(one) for one in values] for name, values in fields.items()}
    return card, labels, probabilities, weights, texts


@settings(max_examples=5)
@given(st.integers(0, 1000), st.booleans())
def test_a_card_is_what_scikit_learn_computes_of_all_cases_and_of_each_subgroup(seed, weighted):
    differences = compare(*judged(seed, weighted=weighted))
    assert max(one.size for one in differences) < 1e-9
    assert {one.figure for one in differences} == {"average_precision", "sensitivity", "specificity", "brier_score"}
    assert {one.of.partition(" of ")[2].partition(" ")[0] for one in differences} == {"", "sex", "age"}


def test_a_figure_that_is_off_is_told_with_its_class_and_subgroup():
    card, *given_ = judged(0, weighted=True)
    card["subgroups"][0]["classes"]["male"][1]["sensitivity"]["estimate"] += 1e-6
    worst = max(compare(card, *given_), key=lambda one: one.size)
    assert (worst.figure, worst.of) == ("sensitivity", "mel of sex male")
    assert worst.size == pytest.approx(1e-6)
