"""Exemplars from outside a project: they steer its queue, and yield to its own cases."""

import numpy as np
import pytest

from clinical_backend.multilabel import pack
from clinical_backend.origins import Draw
from clinical_backend.settings import load_settings
from clinical_backend.strategy.choice import choose_acquisition
from clinical_backend.strategy.detector import fit_detector
from clinical_backend.strategy.fit import fit
from clinical_backend.strategy.order import rank
from clinical_backend.strategy.outside import (
    OutsideExemplars,
    exemplar_of,
    outside_shares,
    standing_id,
)
from clinical_backend.strategy.reasons import reason_of
from clinical_backend.strategy.several_fit import fit_labels
from clinical_backend.strategy.target import find_target
from clinical_backend.strategy.tasks import FeaturedTasks, Inputs

CLASSES = ("common", "other", "rare")
SETTINGS = load_settings(audit_share=0.0, queue_size=20, label_studio_api_key="k")


@pytest.fixture
def features():
    """Return features of 300 images, of which the first 20 are rare, and the next 20 rare in another way."""
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(300, 16))
    rows[:20, 5:9] += 3.0
    rows[20:40, 10:14] += 3.0
    return rows.astype(np.float32)


def outside(rows, *findings):
    ids = np.array([standing_id(number) for number in range(1, len(rows) + 1)], dtype=np.int64)
    return OutsideExemplars(ids, np.asarray(rows, dtype=np.float32), findings or ("rare",) * len(rows))


def project(features, given, labels=None, rare=()):
    """Return inputs, target and fit of a round with these labels and exemplars from outside; nothing is tagged."""
    labels = labels or {}
    target = find_target(labels, (), (), rare, CLASSES, outside=given.labels)
    pool, query, labelled = (
        FeaturedTasks(tasks, features[tasks])
        for tasks in (
            np.array([task for task in range(len(features)) if task not in labels]),
            np.array(target.query, dtype=np.int64),
            np.array(list(labels), dtype=np.int64),
        )
    )
    inputs = Inputs("", pool, labelled, query, pool.none(), outside=given)
    return inputs, target, fit_labels(inputs, labels, CLASSES, target, seed=0)


def order(inputs, target, fitted):
    choice, ranked = rank(SETTINGS, inputs, target, fitted, round_number=1)
    return choice, [task.task_id for task in ranked if task.draw is Draw.TARGET], ranked


def test_what_stands_for_one_among_tasks_is_no_number_of_a_task():
    assert (standing_id(7), exemplar_of(-7), exemplar_of(7), exemplar_of(0)) == (-7, 7, None, None)


def shifted(rows):
    """Return features as another device would show them: off in directions that tell nothing."""
    return rows + np.where(np.arange(16) < 5, 3.0, 0.0)


def test_one_brings_its_like_to_the_front_while_nobody_has_labelled_anything(features):
    choice, tasks, ranked = order(*project(features, outside(features[:1] + 0.1)))
    assert choice.acquisition == "quality_diversity"
    assert sum(task < 20 for task in tasks[:10]) >= 8
    first = next(task for task in ranked if task.draw is Draw.TARGET)
    assert "Most like exemplar 1 from outside" in reason_of(first)
    assert {task.draw for task in ranked} == {Draw.TARGET}


def test_with_one_that_lies_off_the_pool_half_of_the_queue_explores(features):
    choice, tasks, ranked = order(*project(features, outside(shifted(features[:1]))))
    assert choice.explores == 0.5
    assert "exemplars from outside lie off the project's own images, so 50% of the queue explores" in choice.reason
    assert sum(task.draw is Draw.DIVERSE for task in ranked) == 10
    assert sum(task < 20 for task in tasks) >= 3


def test_without_one_the_order_is_diverse(features):
    assert order(*project(features, outside(features[:0])))[0].acquisition == "coreset"


def test_all_of_a_finding_that_lie_off_never_count_for_more_than_one_own_case():
    off = {"rare": 1.0}
    assert outside_shares({"rare": 1}, {"rare": 1}, off) == {"rare": pytest.approx(1 / 3)}
    assert outside_shares({"rare": 50}, {"rare": 1}, off)["rare"] < 0.5
    assert outside_shares({"rare": 3}, {}, off) == {"rare": 1.0}
    assert outside_shares({}, {"rare": 2}, {}) == {}


def test_their_share_yields_as_own_cases_come_as_far_as_they_lie_off():
    shares = [outside_shares({"rare": 3}, {"rare": own, "other": 5}, {"rare": 1.0})["rare"] for own in (0, 1, 3, 9)]
    assert shares == pytest.approx([0.75 / (0.75 + own) for own in (0, 1, 3, 9)])
    half_off = [outside_shares({"rare": 3}, {"rare": own}, {"rare": 0.5})["rare"] for own in (0, 1, 3, 9)]
    assert half_off == pytest.approx([(1 + share) / 2 for share in shares])
    assert outside_shares({"rare": 3}, {"rare": 9}, {"rare": 0.0}) == {"rare": 1.0}


def test_as_far_as_ones_that_lie_off_steer_the_queue_explores(features):
    given, common = outside(shifted(features[:3])), dict.fromkeys(range(200, 210), "common")
    inputs, target, fitted = project(features, given)
    assert choose_acquisition("auto", target, fitted, inputs).explores == 0.5
    explored = []
    for own in (1, 3, 9):
        inputs, target, fitted = project(features, given, dict.fromkeys(range(10, 10 + own), "rare") | common)
        choice = choose_acquisition("auto", target, fitted, inputs)
        assert choice.explores == pytest.approx(0.5 * 0.75 / (0.75 + own))
        explored.append(choice.explores)
    assert explored == sorted(explored, reverse=True)


def test_what_lies_in_the_pool_counts_as_own_cases_do(features):
    labels = dict.fromkeys(range(10, 13), "rare") | dict.fromkeys(range(200, 210), "common")
    inputs, target, fitted = project(features, outside(features[:3]), labels)
    assert fitted.detector.shifts == {"rare": 0.0}
    assert choose_acquisition("auto", target, fitted, inputs).explores == 0.0


def test_own_cases_outweigh_ones_that_lie_off_and_mislead(features):
    labels = dict.fromkeys(range(10), "rare") | dict.fromkeys(range(200, 210), "common")
    misleading = outside(shifted(features[20:23]))
    _, misled, _ = order(*project(features, misleading))
    assert sum(20 <= task < 40 for task in misled) >= 3
    _, tasks, _ = order(*project(features, misleading, labels))
    assert sum(10 <= task < 20 for task in tasks[:10]) >= 8


def test_they_are_no_cases_of_the_target(features):
    inputs, target, fitted = project(features, outside(features[:2]), {50: "common", 60: "other"})
    assert (target.query, target.exemplars, target.sought, target.hits, target.chance_hits) == ((), 0, 0, 0, 0)
    assert len(inputs.query) == 0
    assert fitted.classes == ("common", "other")
    assert fitted.labels == {50: "common", 60: "other"}
    assert target.reason == "2 exemplars from outside"


def test_of_two_findings_each_has_its_own(features):
    given = outside(features[[0, 20]], "rare", "other")
    labels = {task: pack(["common"]) for task in range(100, 110)}
    inputs, target, fitted = project(features, given, labels)
    assert target.outside == {"other": (-2,), "rare": (-1,)}
    assert [fitted.by_target[name].inputs.outside.findings for name in ("other", "rare")] == [("other",), ("rare",)]
    _, tasks, ranked = order(inputs, target, fitted)
    assert {task.targets[0] for task in ranked if task.targets} == {"other", "rare"}
    assert sum(task < 20 for task in tasks) >= 3
    assert sum(20 <= task < 40 for task in tasks) >= 3


def test_they_are_followed_for_what_the_lead_named_alone():
    given = {-1: "rare", -2: "other"}
    target = find_target({}, (), (), ("rare",), CLASSES, outside=given)
    assert (target.classes, target.outside) == (("rare",), {"rare": (-1,)})
    assert find_target({}, (), (), ("common",), CLASSES, outside=given).outside == {}


def test_they_name_the_target_beside_tags_but_not_every_class_nor_a_declined_one():
    labels = {1: "other", 2: "common"}
    assert find_target(labels, (1,), (), (), CLASSES, outside={-1: "rare"}).classes == ("other", "rare")
    assert find_target({}, (), (), (), CLASSES, outside={-1: "rare"}, declined=["rare"]).classes == ()
    assert find_target({}, (), (), (), CLASSES, outside={-1: "gone"}).outside == {}
    everything = dict(zip((-1, -2, -3), CLASSES, strict=True))
    assert find_target({}, (), (), (), CLASSES, outside=everything).classes == ()
    assert find_target(labels, (1,), (), (), CLASSES, outside=everything).classes == ("other",)


def test_one_that_is_sought_in_vain_is_doubted_as_a_tag_is():
    labels = dict.fromkeys(range(200), "common")
    target = find_target(labels, (), (), (), CLASSES, targeted=range(200), outside={-1: "rare"})
    assert target.doubt > 0.9


@pytest.mark.parametrize("acquisition", ["flqmi", "logdetmi", "gcmi"])
def test_a_function_with_a_query_set_takes_them_for_one(features, acquisition):
    inputs, target, fitted = project(features, outside(features[:2]))
    settings = SETTINGS.model_copy(update={"acquisition": acquisition})
    assert choose_acquisition(acquisition, target, fitted, inputs).acquisition == acquisition
    _, ranked = rank(settings, inputs, target, fitted, round_number=1)
    assert sum(task.task_id < 20 for task in ranked[:5]) >= 3


def test_gradients_take_the_finding_that_one_stands_for(features):
    labels = dict.fromkeys(range(4), "rare") | dict.fromkeys(range(100, 104), "common")
    inputs, _, fitted = project(features, outside(features[20:21]), labels)
    residuals = fitted.query_residuals(inputs.steering, inputs.outside)
    assert residuals[-1, fitted.classes.index("rare")] < 0


def test_joined_features_of_one_are_cut_as_those_of_tasks(features):
    tasks = FeaturedTasks(np.arange(300), features, (10, 6))
    inputs = Inputs("", tasks, tasks.none(), tasks.none(), tasks.none(), outside=outside(features[:2]))
    assert inputs.first_part().outside.features.shape == (2, 10)
    target = find_target({}, (), (), (), CLASSES, outside=inputs.outside.labels)
    detector = fit_detector(inputs.both(), {}, target, seed=0)
    scores = detector.rare_probability(features)
    assert scores[:20].mean() > scores[40:].mean() + 0.2


def test_a_fit_without_a_pool_has_no_detector(features):
    labelled = FeaturedTasks(np.arange(4), features[:4])
    inputs = Inputs("", labelled.none(), labelled, labelled.none(), labelled.none(), outside=outside(features[:1]))
    target = find_target({}, (), (), (), CLASSES, outside=inputs.outside.labels)
    labels = {0: "rare", 1: "rare", 2: "common", 3: "common"}
    assert fit(inputs, labels, CLASSES, target, seed=0).detector is None
