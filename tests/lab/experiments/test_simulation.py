"""Simulated readers, and every strategy that they can follow."""

from dataclasses import replace

import numpy as np
import pytest

from clinical_backend.errors import InvalidArgumentError
from clinical_backend.lab.experiments.datasets import LabelledImages
from clinical_backend.lab.experiments.learners import FixedFeatures
from clinical_backend.lab.experiments.protocol import Protocol, draw
from clinical_backend.lab.experiments.simulation import Outcome, simulate
from clinical_backend.lab.experiments.strategies import STRATEGIES, Situation, order
from clinical_backend.strategy.outside import OutsideExemplars
from tests.lab.experiments.conftest import Labelled

PROTOCOL = Protocol("points", rare_share=0.05, pool=200, exemplars=2, labels=60, batch=20)


def run(labelled: Labelled, strategy: str, **changes: object) -> Outcome:
    data, features = labelled
    protocol = Protocol(**{**{name: getattr(PROTOCOL, name) for name in PROTOCOL.__slots__}, **changes})  # type: ignore[arg-type]
    drawn = draw(protocol, data, 0)
    return simulate(protocol, drawn, data, FixedFeatures(features), strategy, seed=0, frozen=features)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_gives_each_label_once_and_is_measured(labelled: Labelled, strategy: str):
    outcome = run(labelled, strategy)

    assert len(outcome.found) == 60
    assert np.all(np.diff(outcome.found) >= 0)
    assert outcome.found[-1] <= outcome.rare == 10
    assert set(outcome.measured) == {0, 50, 60}
    assert 0 < (outcome.measured[60]["average_precision"] or 0) <= 1 + 1e-9
    assert 0 < (outcome.measured[0]["class_coverage"] or 0) <= (outcome.measured[60]["class_coverage"] or 0) <= 1


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


def test_what_was_found_is_told_by_class(labelled: Labelled):
    outcome = run(labelled, "oracle", rare_classes=("rare", "frequent"), rare_share=0.1, pool=100, labels=30)

    assert np.array_equal(np.sum(list(outcome.classes_found.values()), axis=0), outcome.found)
    assert {name: found[-1] for name, found in outcome.classes_found.items()} == {"rare": 5, "frequent": 5}


@pytest.mark.parametrize("strategy", ["pfma", "galaxy", "direct"])
def test_a_baseline_begins_as_it_can_and_then_goes_by_the_classifier(labelled: Labelled, strategy: str):
    chosen = run(labelled, strategy).chosen

    assert chosen[0] == {"pfma": "flqmi@features"}.get(strategy, "random")
    assert set(chosen[1:]) == {strategy}


def test_misclassified_validation_images_are_the_query_set(labelled: Labelled, monkeypatch: pytest.MonkeyPatch):
    data, features = labelled
    protocol = replace(PROTOCOL, exemplars=2, common=20, validation=12, labels=20, rare_share=0.02)
    drawn = draw(protocol, data, 0)
    seen: list[Situation] = []

    def witnessed(strategy: str, situation: Situation, *arguments: object) -> object:
        seen.append(situation)
        return order(strategy, situation, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("clinical_backend.lab.experiments.simulation.order", witnessed)
    noise = np.random.default_rng(0).normal(size=features.shape)
    blurred = (features + 2 * noise).astype(np.float32)
    simulate(protocol, drawn, data, FixedFeatures(blurred), "flqmi@distil", seed=0)

    query, fitted = seen[0].inputs.query, seen[0].fitted
    believed = fitted.probabilities(blurred[drawn.validation])
    assert believed is not None
    wrong = believed.argmax(axis=1) != fitted.classes.index("rare")
    assert 0 < wrong.sum() < len(drawn.validation)
    assert query.tasks.tolist() == drawn.validation[wrong].tolist()
    residuals = fitted.query_residuals(query)
    assert residuals is not None
    assert np.all(residuals[:, fitted.classes.index("rare")] < 0)  # under their true labels


@pytest.mark.parametrize("exemplars", [0, 2])
def test_noise_flips_answers_but_not_exemplars_and_finds_are_told_by_the_truth(labelled: Labelled, exemplars: int):
    def found(noise: float) -> list[int]:
        return run(labelled, "oracle", exemplars=exemplars, label_noise=noise, labels=10, batch=10).found

    assert found(1.0) == found(0.0) == list(range(1, 11))


def test_noise_makes_a_share_of_the_answers_wrong(labelled: Labelled):
    clean, noisy = (run(labelled, "random", label_noise=noise).measured[60] for noise in (0.0, 0.6))

    assert (noisy["balanced_accuracy"] or 0) < (clean["balanced_accuracy"] or 0) - 0.1


def test_a_goal_of_a_classifier_takes_labels_from_the_search(labelled: Labelled):
    data, features = labelled
    blurred = (features + 2 * np.random.default_rng(0).normal(size=features.shape)).astype(np.float32)
    taught, found = (run((data, blurred), name) for name in ("auto@classifier", "auto"))

    assert taught.found != found.found
    assert taught.found[:20] == found.found[:20]  # no common class is known before


def test_a_pool_is_read_to_its_end(labelled: Labelled):
    outcome = run(labelled, "random", pool=40, labels=300)

    assert outcome.found[-1] == outcome.rare
    assert len(outcome.found) == 40


def test_an_unknown_strategy_is_refused(labelled: Labelled):
    with pytest.raises(InvalidArgumentError, match="no strategy 'guess'"):
        run(labelled, "guess")


def test_a_project_of_several_findings_finds_each_and_counts_a_case_of_two_for_both():
    generator = np.random.default_rng(2)
    shows = np.zeros((700, 3), dtype=np.bool_)
    shows[:, 0] = generator.random(700) < 0.5
    shows[:40, 1] = True
    shows[35:75, 2] = True
    features = generator.normal(size=(700, 24)).astype(np.float32)
    for column in range(3):
        features[shows[:, column], 8 * column] += 6.0
    held_out = np.arange(700) % 5 == 0
    images = list(np.zeros((700, 2, 2), dtype=np.uint8))
    data = LabelledImages.of_findings("films", ("common", "mass", "nodule"), images, shows, held_out)
    protocol = Protocol("films", rare_classes=("mass", "nodule"), rare_share=0.06, pool=400, named=True, labels=40)

    for strategy in ("auto", "p_rare", "entropy", "random"):
        drawn = draw(protocol, data, 0)
        found = simulate(protocol, drawn, data, FixedFeatures(features), strategy, seed=0)

        assert set(found.classes_found) == {"mass", "nodule"}
        assert found.found[-1] == sum(one[-1] for one in found.classes_found.values())
        if strategy == "auto":
            assert min(one[-1] for one in found.classes_found.values()) >= 8
            assert found.measured[40]["average_precision"] > 0.8


def test_exemplars_from_outside_lead_to_the_rare_class_and_are_never_found(labelled: Labelled):
    data, features = labelled
    protocol = replace(PROTOCOL, exemplars=0, named=True, labels=20, batch=10)
    drawn = draw(protocol, data, 0)
    cases = np.flatnonzero(data.members("rare") & data.held_out)[:2]
    given = OutsideExemplars(np.array([-1, -2]), features[cases], ("rare", "rare"))
    learner = FixedFeatures(features)
    alone = simulate(protocol, drawn, data, learner, "auto", seed=0)
    led = simulate(protocol, drawn, data, learner, "auto", seed=0, outside=given)

    assert led.rare == alone.rare
    assert led.found[9] >= 5
    assert led.found[9] > alone.found[9]
    assert len(led.found) == 20
