"""Words in simulations, in a simulated joint space that no network made: what they are worth, and cost where wrong."""

import json
from dataclasses import replace

import numpy as np
import pytest

from clinical_backend.errors import ModelError
from clinical_backend.lab.benchmarks.words import CLASSES, SPACE, found_by, simulated_set
from clinical_backend.lab.experiments import phrasings, runs
from clinical_backend.lab.experiments.datasets import DataError
from clinical_backend.lab.experiments.phrasings import SetWords, read_phrasings, words_of_set
from clinical_backend.lab.experiments.protocol import Protocol
from clinical_backend.lab.experiments.runs import Run
from clinical_backend.lab.experiments.strategies import BY_WORDS
from clinical_backend.learner.backbones.loading import parse_backbone
from clinical_backend.strategy.tasks import FeaturedTasks

PROTOCOL = Protocol("simulated", rare_classes=("rare",), rare_share=0.03, pool=700, named=True, labels=100, batch=20)
SEEDS = range(4)


def found(seed, said, exemplars):
    return found_by(said, replace(PROTOCOL, exemplars=exemplars), simulated_set(seed, images=720, rare=24), seed)


@pytest.fixture(scope="module")
def cold():
    """Return what four projects found after each label that begin with no case: by words that are said."""
    return {said: np.mean([found(seed, said, 0) for seed in SEEDS], axis=0) for said in ("", "rare", "second")}


@pytest.mark.slow
def test_right_words_bring_cases_from_the_first_labels_on(cold):
    assert cold["rare"][9] > 4 > 4 * cold[""][9]
    assert cold["rare"][99] >= cold[""][99]


@pytest.mark.slow
def test_wrong_words_cost_at_most_a_tenth_of_what_is_found_after_a_hundred_labels(cold):
    assert cold["second"][99] >= 0.9 * cold[""][99]


@pytest.mark.slow
def test_beside_an_exemplar_wrong_words_cost_at_most_a_tenth(cold):
    none, wrong = (np.mean([found(seed, said, 1) for seed in SEEDS], axis=0) for said in ("", "second"))
    assert wrong[99] >= 0.9 * none[99]


@pytest.fixture
def tower(monkeypatch):
    """Put the simulated space in the place of a network's; return the texts that were asked for."""
    asked = []
    texts = simulated_set(0)[2]

    def embed(spec, wanted, *, tokenizer):
        asked.append(list(wanted))
        return texts[[next(place for place, name in enumerate(CLASSES) if name in text) for text in wanted]]

    monkeypatch.setattr(phrasings, "joint_space_of", lambda spec: SPACE)
    monkeypatch.setattr(phrasings, "embed_texts", embed)
    return asked


WORDS = {"rare": (("a rare cell", "rare"), ("a second cell",)), "second": (("second",), ())}


def told(tmp_path, words=None):
    data, features, _ = simulated_set(0)
    return words_of_set(data, features, "efficientnet_lite0", None, tmp_path, words)


def test_a_set_is_asked_once_and_again_for_other_words(tmp_path, tower):
    (tmp_path / "features").mkdir()
    first = told(tmp_path, WORDS)
    assert told(tmp_path, WORDS) == first
    assert len(tower) == 1
    assert told(tmp_path, {"rare": (("rare",), ())}) != first
    kept = SetWords.read(first)
    assert (kept.findings, kept.texts) == (("rare", "second"), (("a rare cell", "rare"), ("second",)))
    assert kept.log_odds.shape == kept.nearest.shape == (2, 1000)
    assert kept.log_odds[0, :30].mean() > kept.log_odds[0, 30:].mean() + 1
    some = FeaturedTasks(np.array([3, 1]), np.empty((2, 0)))
    assert kept.among(["second"]).of(some, some.none()).log_odds.tolist() == [kept.log_odds[1, [3, 1]].tolist()]


def test_a_run_by_words_is_another_for_other_words_and_uses_them(tmp_path, tower, monkeypatch):
    data, features, _ = simulated_set(0)
    np.save(tmp_path / "features.npy", features)
    (tmp_path / "features").mkdir()
    spec = parse_backbone("efficientnet_lite0", folder=tmp_path)
    made = [
        Run("cells", PROTOCOL, BY_WORDS, 0, "frozen", (str(tmp_path / "features.npy"),), spec.key, spec, str(path))
        for path in (told(tmp_path, WORDS), told(tmp_path, {"rare": (("rare",), ())}))
    ]
    assert len({run.key for run in made}) == 2
    assert "words" not in Run("cells", PROTOCOL, "auto", 0, "frozen", (), spec.key, spec).configuration
    monkeypatch.setattr(runs, "_data", lambda *_: data)
    assert runs._simulate(made[0], tmp_path)["found"][9] >= 4


def test_a_backbone_without_a_text_tower_is_refused_with_what_to_set(tmp_path):
    with pytest.raises(ModelError, match="Set BACKBONE to"):
        told(tmp_path)


@pytest.mark.parametrize("words", [{}, {"rear": (("rear",), ())}])
def test_words_for_no_class_of_the_set_are_refused_with_its_classes(tmp_path, tower, words):
    with pytest.raises(DataError, match="Name classes of simulated: 'rare', 'second'"):
        told(tmp_path, words)
    assert tower == []


def test_words_for_none_of_the_rare_classes_change_nothing(tmp_path, tower):
    (tmp_path / "features").mkdir()
    some = FeaturedTasks(np.array([3, 1]), np.empty((2, 0)))
    assert SetWords.read(told(tmp_path, WORDS)).among(["third"]).of(some, some.none()) is None


def test_words_are_read_from_a_file(tmp_path):
    path = tmp_path / "words.json"
    path.write_text(json.dumps({"rare": {"phrasings": ["a"], "contrasts": ["b"]}, "second": {"phrasings": ["c"]}}))
    assert read_phrasings(path) == {"rare": (("a",), ("b",)), "second": (("c",), ())}
    texts = ("[]", '"a cell"', "[1]", "null", '["a"], "contrasts": "b"')
    for wrong in (
        "{",
        "[]",
        '{"rare": ["a"]}',
        '{"rare": {}}',
        *(f'{{"rare": {{"phrasings": {one}}}}}' for one in texts),
    ):
        path.write_text(wrong)
        with pytest.raises(DataError, match="Write JSON such as"):
            read_phrasings(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_phrasings(tmp_path / "none.json")
