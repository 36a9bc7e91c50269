"""Simulated readers, and every strategy that they can follow."""

import numpy as np
import pytest

from clinical_backend.errors import InvalidArgumentError
from clinical_backend.lab.experiments.learners import FixedFeatures
from clinical_backend.lab.experiments.protocol import Protocol, draw
from clinical_backend.lab.experiments.simulation import Outcome, simulate
from clinical_backend.lab.experiments.strategies import STRATEGIES
from tests.lab.experiments.conftest import Labelled

PROTOCOL = Protocol("points", rare_share=0.05, pool=200, exemplars=2, labels=60, batch=20)


def run(labelled: Labelled, strategy: str, **changes: object) -> Outcome:
    data, features = labelled
    protocol = Protocol(**{**{name: getattr(PROTOCOL, name) for name in PROTOCOL.__slots__}, **changes})  # type: ignore[arg-type]
    return simulate(protocol, draw(protocol, data, 0), data, FixedFeatures(features), strategy, seed=0)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_gives_each_label_once_and_is_measured(labelled: Labelled, strategy: str):
    outcome = run(labelled, strategy)

    assert len(outcome.found) == 60
    assert np.all(np.diff(outcome.found) >= 0)
    assert outcome.found[-1] <= outcome.rare == 10
    assert set(outcome.measured) == {0, 50, 60}
    assert 0 < (outcome.measured[60]["average_precision"] or 0) <= 1 + 1e-9


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_starts_from_nothing(labelled: Labelled, strategy: str):
    assert len(run(labelled, strategy, exemplars=0, labels=30, batch=10).found) == 30


def test_the_oracle_finds_every_case_first(labelled: Labelled):
    assert run(labelled, "oracle").found[:10] == list(range(1, 11))


def test_a_run_is_the_same_again(labelled: Labelled):
    assert run(labelled, "auto").found == run(labelled, "auto").found


def test_the_live_choice_beats_random_where_features_tell_the_classes_apart(labelled: Labelled):
    assert run(labelled, "auto").found[19] > 2 * run(labelled, "random").found[19]


@pytest.mark.parametrize("named", [False, True])
def test_a_slip_of_a_tag_costs_few_finds(labelled: Labelled, named: bool):
    slipped = run(labelled, "auto", exemplars=5, slips=1, rare_share=0.04, batch=10, named=named)

    assert slipped.found[19] >= run(labelled, "auto", exemplars=5, rare_share=0.04, batch=10).found[19] - 2


def test_a_lead_who_names_the_finding_needs_no_tag(labelled: Labelled):
    named = run(labelled, "auto", exemplars=0, named=True)

    assert named.found[-1] == named.rare


def test_a_pool_is_read_to_its_end(labelled: Labelled):
    outcome = run(labelled, "random", pool=40, labels=300)

    assert outcome.found[-1] == outcome.rare
    assert len(outcome.found) == 40


def test_an_unknown_strategy_is_refused(labelled: Labelled):
    with pytest.raises(InvalidArgumentError, match="no strategy 'guess'"):
        run(labelled, "guess")
