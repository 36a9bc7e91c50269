"""Words that stand for a finding, in a simulated joint space: they start a queue, and give way to cases and labels."""

from dataclasses import replace

import numpy as np
import pytest

from clinical_backend.lab.benchmarks.words import CLASSES, SPACE, simulated_set, words_for_rare
from clinical_backend.learner.backbones.preprocessing import unit
from clinical_backend.multilabel import pack
from clinical_backend.origins import Draw
from clinical_backend.settings import load_settings
from clinical_backend.strategy.choice import choose_acquisition
from clinical_backend.strategy.order import rank
from clinical_backend.strategy.outside import OutsideExemplars
from clinical_backend.strategy.reasons import reason_of
from clinical_backend.strategy.several_fit import fit_labels
from clinical_backend.strategy.target import find_target
from clinical_backend.strategy.tasks import FeaturedTasks, Inputs
from clinical_backend.strategy.words import EmbeddedWords, WordPrior, WordScores, word_shares

SETTINGS = load_settings(audit_share=0.0, queue_size=20, label_studio_api_key="k")
RARE = 30


@pytest.fixture(scope="module")
def simulated():
    return simulated_set(0, rare=RARE)


def project(simulated, labels=None, exemplars=(), said="rare", words=True):
    """Return inputs, target and fit of a round with these labels and words; tasks are the places of images."""
    data, features, texts = simulated
    labels = labels or {}
    told = words_for_rare(features, texts, said)
    findings = told.findings if words else ()
    target = find_target(labels, exemplars, (), (), CLASSES, words=findings)
    pool, query, labelled = (
        FeaturedTasks(tasks, features[tasks])
        for tasks in (
            np.array([task for task in range(len(data)) if task not in labels]),
            np.array(target.query, dtype=np.int64),
            np.array(list(labels), dtype=np.int64),
        )
    )
    inputs = Inputs("", pool, labelled, query, pool.none(), words=told.of(pool, query) if words else None)
    return inputs, target, fit_labels(inputs, labels, CLASSES, target, seed=0)


def queue(inputs, target, fitted):
    choice, ranked = rank(SETTINGS, inputs, target, fitted, round_number=1)
    return choice, ranked, [task.task_id for task in ranked if task.draw is Draw.TARGET]


def test_texts_that_a_tower_reads_alike_order_nothing():
    placed = unit(np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32))
    text = unit(np.ones((1, 4), dtype=np.float32))
    nearly = text + np.array([[1e-7, 0, 0, 0]], dtype=np.float32)
    assert not EmbeddedWords("rare", ("a",), text, nearly).scores(SPACE, placed).any()


def test_log_odds_are_those_of_a_softmax_over_both_texts(simulated):
    _, features, texts = simulated
    placed = SPACE.place(features[:5])
    words = EmbeddedWords("rare", ("a",), texts[:1], texts[1:2])
    logits = SPACE.scale * placed @ texts[:2].T
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    expected = np.log(probabilities[:, 0] / probabilities[:, 1])
    assert words.scores(SPACE, placed) == pytest.approx(expected, abs=1e-3)


def test_several_phrasings_are_averaged_and_without_a_contrast_the_order_stands(simulated):
    _, features, texts = simulated
    placed, none = SPACE.place(features), texts[:0]
    both = EmbeddedWords("rare", ("a", "b"), texts[:2], none).scores(SPACE, placed)
    each = [EmbeddedWords("rare", ("a",), texts[[row]], none).scores(SPACE, placed) for row in (0, 1)]
    assert np.corrcoef(both, each[0] + each[1])[0, 1] == pytest.approx(1.0, abs=1e-5)
    assert EmbeddedWords("rare", ("a", "b"), texts[:2], none).nearest(placed).tolist() == (
        (each[1] > each[0]).astype(int).tolist()
    )


def test_words_start_a_queue_on_day_one_and_are_its_reason(simulated):
    choice, ranked, sought = queue(*project(simulated))
    assert choice.acquisition == "quality_diversity"
    assert "words for rare" in choice.reason
    assert sum(task < RARE for task in sought) >= 6
    assert len(sought) == 8  # of 20: whether words are right is not known, and the others explore
    first = next(task for task in ranked if task.draw is Draw.TARGET)
    assert "Like the words “rare”." in reason_of(first)
    assert all(task.words is None for task in ranked if task.draw is not Draw.TARGET)


def test_without_words_the_order_is_diverse(simulated):
    choice, ranked, _ = queue(*project(simulated, words=False))
    assert choice.acquisition == "coreset"
    assert all(task.words is None for task in ranked)


def test_their_share_falls_with_each_own_case_and_beside_exemplars_from_outside():
    shares = [word_shares(["a"], [], {"a": count})["a"] for count in (0, 1, 3, 10)]
    assert shares == pytest.approx([1.0, 1 / 3, 1 / 7, 1 / 21])
    assert word_shares(["a", "b"], ["a"], {})["a"] == pytest.approx(0.5)
    assert word_shares(["a", "b"], ["a"], {})["b"] == 1.0


def prior(scores, share=1.0, cases=()):
    words = WordScores(
        ("a",),
        (("said",),),
        np.array([scores], np.float32),
        np.zeros((1, len(scores)), int),
        np.array([cases], np.float32),
    )
    return WordPrior(words, {"a": share}, share)


def test_one_that_is_not_believed_changes_nothing():
    learnt = np.array([0.1, 0.9, 0.5], dtype=np.float32)
    assert prior([3.0, -3.0, 0.0], share=0.0).of(learnt) == pytest.approx(learnt, abs=1e-6)
    assert prior([3.0, -3.0, 0.0], share=0.0).said(np.arange(3)) == [None] * 3


def test_the_scale_and_the_zero_of_a_network_do_not_count():
    learnt = np.array([0.1, 0.9, 0.5, 0.3], dtype=np.float32)
    small = prior([1.0, 2.0, 3.0, 5.0], share=0.5).of(learnt)
    assert prior([100.0, 200.0, 300.0, 500.0], share=0.5).of(learnt) == pytest.approx(small, rel=1e-5)
    assert np.isfinite(prior([1.0] * 4).of(None)).all()


def test_cases_that_words_do_not_find_speak_against_them():
    pool = np.arange(100.0)
    case = np.array([True])
    fits = [prior(pool, cases=[score]).words.fits("a", case) for score in (99.5, 49.5, -1.0)]
    assert fits == pytest.approx([1.0, 0.5, 0.0])
    assert prior(pool, cases=[np.nan]).words.fits("a", case) == 1.0


def test_wrong_words_are_no_reason_beside_a_case_that_they_do_not_find(simulated):
    inputs, target, fitted = project(simulated, {0: "rare", 40: "second"}, [0], said="second")
    below = replace(inputs.words, cases=np.full((1, 1), -99.0, dtype=np.float32))
    _, ranked, _ = queue(replace(inputs, words=below), target, fitted)
    assert all(task.words is None for task in ranked)


@pytest.mark.parametrize(("vain", "least", "most"), [(0, 0.6, 0.6), (4, 0.8, 0.9), (7, 0.9, 0.95)])
def test_more_of_the_queue_explores_with_each_label_in_vain(simulated, vain, least, most):
    inputs, _, fitted = project(simulated)
    assert least <= choose_acquisition("auto", sought_in_vain(vain), fitted, inputs).explores <= most


def test_words_in_vain_are_given_up_before_the_first_case_and_not_beside_one(simulated):
    inputs, _, fitted = project(simulated)
    choice = choose_acquisition("auto", sought_in_vain(8), fitted, inputs)
    assert choice.acquisition == "coreset"
    assert "words for rare, which found 0 of 8: a diverse order" in choice.reason
    inputs, _, fitted = project(simulated, {0: "rare", 40: "second"}, [0])
    assert choose_acquisition("auto", sought_in_vain(8), fitted, inputs).acquisition == "quality_diversity"


def sought_in_vain(count):
    """Return the target of a round after so many labels that words led to, none of which is of the finding."""
    tasks = range(100, 100 + count)
    return find_target(dict.fromkeys(tasks, "second"), (), (), (), CLASSES, words=["rare"], targeted=tasks)


def test_of_several_findings_each_goes_by_its_own_words(simulated):
    data = simulated[0]
    labels = {task: pack([CLASSES[data.labels[task]]]) for task in range(200, 240)}
    inputs, target, fitted = project(simulated, labels)
    assert target.classes == ("rare",)
    assert fitted.by_target["rare"].inputs.words.findings == ("rare",)
    choice, ranked, sought = queue(inputs, target, fitted)
    assert "words for rare" in choice.reason
    assert sum(task < RARE for task in sought) >= len(sought) // 2
    assert any(task.words == "rare" for task in ranked)


def test_both_words_and_exemplars_from_outside_tell_while_there_is_no_case(simulated):
    _, features, _ = simulated
    inputs, target, _ = project(simulated)
    outside = OutsideExemplars(np.array([-1]), features[:1], ("rare",))
    target = find_target({}, (), (), (), CLASSES, words=["rare"], outside=outside.labels)
    both = Inputs(
        "", inputs.pool, inputs.labelled, inputs.query, inputs.pool.none(), outside=outside, words=inputs.words
    )
    choice, _, sought = queue(both, target, fit_labels(both, {}, CLASSES, target, seed=0))
    assert "1 exemplar from outside and words for rare" in choice.reason
    assert "words and cases from elsewhere" in choice.reason
    assert sum(task < RARE for task in sought) >= 8


def test_a_class_that_the_lead_declined_is_not_looked_for_by_words():
    assert find_target({}, (), (), (), CLASSES, words=["rare"], declined=["rare"]).classes == ()
    assert find_target({}, (), (), ["second"], CLASSES, words=["rare"]).words == ()
