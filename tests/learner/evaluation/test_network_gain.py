import numpy as np
import pytest

from clinical_backend.learner.evaluation.network_gain import cross_fitted, gain, hold_out, losses

CODES = np.repeat([0, 1, 2], [50, 20, 10])


def test_a_fifth_of_each_class_is_held_out_the_same_for_a_seed():
    held_out = hold_out(CODES, 3)
    assert np.bincount(CODES[held_out]).tolist() == [10, 4, 2]
    assert np.array_equal(held_out, hold_out(CODES, 3))
    assert not np.array_equal(held_out, hold_out(CODES, 4))


@pytest.mark.parametrize("codes", [CODES[:-1], np.zeros(0, dtype=int)])
def test_nothing_is_held_out_where_a_class_has_too_few(codes):
    assert not hold_out(codes, 0).any()


def test_what_was_held_out_stays_so_and_what_was_learnt_is_never_held_out():
    before = hold_out(CODES, 0)
    grown = np.concatenate([CODES, np.repeat([0, 1, 2], [50, 20, 10])])
    new = np.zeros(len(CODES), dtype=bool)
    after = hold_out(grown, 1, held_out=np.concatenate([before, new]), learnt=np.concatenate([~before, new]))
    assert np.array_equal(after[: len(CODES)], before)
    assert np.bincount(grown[after]).tolist() == [20, 8, 4]


def test_a_class_of_which_all_was_learnt_has_no_judge():
    assert not hold_out(CODES, 0, held_out=np.zeros(80, dtype=bool), learnt=np.ones(80, dtype=bool)).any()


def test_the_pass_that_chance_favours_does_not_flatter():
    """Among many passes of noise the best one looks good to those who chose it, and to nobody else."""
    random = np.random.default_rng(0)
    codes = np.repeat([0, 1], 20)
    passes = [random.normal(size=(40, 2)).astype(np.float32) for _ in range(200)]
    chosen = min(losses(logits, codes).mean() for logits in passes)
    assert chosen < np.log(2) - 0.05
    assert losses(cross_fitted(passes, codes), codes).mean() > np.log(2) - 0.02


def test_a_pass_that_is_better_is_found_and_its_temperature_too():
    random = np.random.default_rng(0)
    codes = np.repeat([0, 1], 40)
    good = (np.eye(2)[codes] + 0.4 * random.normal(size=(80, 2))).astype(np.float32)
    noise = random.normal(size=(80, 2)).astype(np.float32)
    found = cross_fitted([noise, 9 * good, noise], codes)
    assert losses(found, codes).mean() < losses(9 * good, codes).mean()
    assert np.array_equal(found.argmax(axis=1), good.argmax(axis=1))


def test_a_gain_counts_each_class_the_same():
    codes = np.repeat([0, 1], [90, 10])
    reference = np.zeros((100, 2), dtype=np.float32)
    candidate = reference.copy()
    candidate[90:, 1] = 50.0
    found = gain(reference, candidate, codes)
    assert found.mean == pytest.approx(np.log(2) / 2)
    assert found.is_clear
    assert not gain(candidate, reference, codes).is_clear


def test_noise_is_no_clear_gain_and_a_label_of_each_class_proves_nothing():
    random = np.random.default_rng(1)
    codes = np.repeat([0, 1], 15)
    clear = [gain(*random.normal(size=(2, 30, 2)).astype(np.float32), codes).is_clear for _ in range(200)]
    assert 0.08 < np.mean(clear) < 0.25
    two = np.array([[0, 0], [0, 0]], dtype=np.float32)
    assert not gain(two, two + np.eye(2, dtype=np.float32) * 9, np.array([0, 1])).is_clear
