import numpy as np

from clinical_backend.lab.benchmarks.second_look import times_base_rate

CLASSES = ("common", "other", "rare", "seldom")


def drawn(seed=0):
    """Return features in which the classes stand apart, and the class of each image."""
    generator = np.random.default_rng(seed)
    truth = generator.choice(4, 4000, p=[0.45, 0.45, 0.05, 0.05])
    features = generator.normal(size=(len(truth), 32)).astype(np.float32)
    features[np.arange(len(truth)), truth] += 4.0
    return features, truth


def test_missed_findings_that_stand_apart_come_first():
    features, truth = drawn()
    assert times_base_rate(features, truth, CLASSES, ("rare", "seldom"), 0, 0.3) >= 5
