"""Two rounds beside each other on a page."""

import numpy as np
import pytest

from clinical_backend.learner.checkpoint import CheckpointMetadata, save_checkpoint
from clinical_backend.learner.classifier.linear import LinearClassifier
from clinical_backend.learner.evaluation.held_out import HeldOut
from tests.web.pages.test_model import judged, later_round
from tests.web.pages.test_routes import assert_sound, configuration, filled, stores, wakes, web, workspace

__all__ = ["configuration", "filled", "judged", "stores", "wakes", "web", "workspace"]  # fixtures

COMPARE = "/projects/1/model/compare"


def test_rounds_are_compared_on_the_labels_that_judged_both(web, workspace, stores, judged):
    later = later_round(stores, stores.rounds.published(1))
    classifier = LinearClassifier(("a", "b"), np.zeros((4, 2), np.float32), np.zeros(2, np.float32), np.array([2, 2]))
    rows = np.array([[0.2, 0.8], [0.3, 0.7], [0.6, 0.4], [0.5, 0.5]], dtype=np.float32)
    held_out = HeldOut(np.array([2, 3, 4, 9]), rows, classifier)
    save_checkpoint(
        workspace.project(1).checkpoint_folder(later.version), classifier, CheckpointMetadata("key", 1), held_out
    )
    text = web.get(f"{COMPARE}?first={later.number}&second={judged.number}").text
    assert_sound(text)
    words = " ".join(text.split())
    assert "On the 3 labels that judged both" in words
    assert "Right since round 2" in words
    assert "Wrong since round" not in words
    assert 'data-case="3"' in text
    assert 'data-case="4"' in text
    assert "0 tasks stand in both queues" in words
    assert f'action="{COMPARE}"' in web.get("/projects/1/model").text


def test_models_that_are_not_kept_are_not_compared(web, stores, filled):
    later_round(stores, stores.rounds.published(1))
    text = web.get(f"{COMPARE}?first=1&second=2").text
    assert_sound(text)
    assert "Their models cannot be compared" in text


@pytest.mark.parametrize(
    ("query", "said"), [("first=1&second=1", "two different rounds"), ("first=1&second=7", "published no queue")]
)
def test_what_cannot_be_compared_is_said(web, filled, query, said):
    answer = web.get(f"{COMPARE}?{query}")
    assert answer.headers["location"] == "/projects/1/model"
    assert said in web.get("/projects/1/model").text


@pytest.mark.parametrize("query", ["", "first=0&second=1", "first=x&second=1", f"first=1&second={10**12}"])
def test_what_is_no_number_of_a_round_is_refused(web, filled, query):
    assert web.get(f"{COMPARE}?{query}").status_code == 404
