"""What strategies go by."""

import numpy as np
import pytest

from clinical_backend.acquisition import FUNCTIONS
from clinical_backend.lab.experiments.strategies import STRATEGIES, Situation, learned_embeddings, order
from clinical_backend.learner.classifier.whitening import half_whitening
from clinical_backend.settings import load_settings
from clinical_backend.strategy.fit import fit
from clinical_backend.strategy.target import find_target
from clinical_backend.strategy.tasks import FeaturedTasks, Inputs
from tests.lab.experiments.conftest import Labelled

LEARNED = [name for name in STRATEGIES if name.endswith("@learned")]


@pytest.fixture
def situation(labelled: Labelled) -> Situation:
    """A project with three cases of each class labelled, and exemplars of two rare classes."""
    data, features = labelled
    names = [data.classes[code] for code in data.labels]
    known = np.concatenate([np.flatnonzero(data.labels == code)[:3] for code in range(3)])
    labels = {int(task): names[task] for task in known}
    target = find_target(labels, [task for task in labels if names[task] != "common"], (), (), data.classes)
    pool = np.setdiff1d(np.arange(len(features)), known)
    parts = (FeaturedTasks(tasks, features[tasks]) for tasks in (known, pool, np.asarray(target.query)))
    inputs = Inputs.of(*parts)
    fitted = fit(inputs, labels, data.classes, target, seed=0, judge=False)
    rare = np.isin(data.labels[pool], [1, 2])
    return Situation(load_settings(), target, fitted, inputs, 1, rare, [names[task] for task in pool])


def test_the_learned_similarity_is_the_shared_belief_times_the_likeness_of_whitened_features(situation: Situation):
    fitted, inputs = situation.fitted, situation.inputs
    assert fitted.detector is not None
    everything = np.concatenate([inputs.pool.features, inputs.labelled.features])
    unit = [
        each / np.linalg.norm(each, axis=1, keepdims=True) for each in (inputs.pool.features, inputs.query.features)
    ]
    white = [(each - unit[0].mean(axis=0)) @ half_whitening(everything) for each in unit]
    white = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in white]
    believed = fitted.detector.classifier.probabilities(inputs.pool.features)
    column = [fitted.detector.classifier.classes.index(fitted.labels[task]) for task in inputs.query.tasks.tolist()]
    wanted = np.sqrt(believed[:, column]) * (1 + white[0] @ white[1].T) / 2

    pool, query = learned_embeddings(fitted, inputs)
    gradients = []
    for one in (pool, query):
        assert one.residuals is not None
        longer = np.concatenate([one.features, np.ones((len(one), 1))], axis=1)
        flat = (one.residuals[:, :, None] * longer[:, None, :]).reshape(len(one), -1)
        gradients.append(flat / np.linalg.norm(flat, axis=1, keepdims=True))
    assert np.allclose(gradients[0] @ gradients[1].T, wanted, atol=1e-3)


def test_every_published_function_has_a_row_on_each_similarity():
    published = {name for name in FUNCTIONS if name not in {"flcmi", "logdetcmi"}}
    assert {name.removesuffix("@learned") for name in LEARNED} == published | {"p_rare"}
    assert published <= {name.removesuffix("@features") for name in STRATEGIES}


@pytest.mark.parametrize("strategy", LEARNED)
def test_what_the_detector_learnt_leads_to_rare_cases(situation: Situation, strategy: str):
    places, _, chosen = order(strategy, situation, 20)

    assert chosen == strategy
    assert situation.rare[places].mean() > 0.8
