"""A model card by a test set that was set aside, on rounds as they are."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from clinical_backend.handover.model_card import CardOptions, make_card
from clinical_backend.rounds.blind_scores import judged_test_set
from clinical_backend.service.set_aside import models_on_test_set
from tests.rounds.coloured_cells import run
from tests.rounds.test_reserve import RED, TASKS, draw, fake_client, patient, project, studio, truth
from tests.small_workspace import picture

__all__ = ["fake_client", "project", "studio"]


def test_the_figures_are_those_of_the_test_set_alone(project, studio):
    tasks = draw(project, 80)
    for task in sorted(tasks):
        studio.annotate(task, truth(task))
    run(project)
    card = make_card(project, CardOptions())
    blind = judged_test_set(project)
    place = blind.classes.index("red")
    one = card.figures()["classes"][place]
    red = np.array([truth(task) == "red" for task in blind.tasks.tolist()])
    assert (one["cases"], one["positives"]) == (len(tasks), red.sum())
    assert one["patients"] == len({patient(task) for task in tasks})
    assert card.figures()["counts"]["set_aside"] == len(tasks)
    assert "read blind" in card.markdown()
    expected = average_precision_score(red, blind.probabilities[:, place])
    assert one["average_precision"]["estimate"] == pytest.approx(expected, abs=1e-9)
    assert one["observed"]["estimate"] == pytest.approx(red.mean(), abs=1e-9)


def test_the_page_of_the_model_states_what_the_card_does(project, studio):
    draw(project, 40)
    late = range(max(TASKS) + 1, max(TASKS) + 31)
    studio.uris |= {task: picture(200 if task % 2 else 30, blue=task) for task in late}
    studio.data |= {task: {"patient": f"late {task}"} for task in late}
    tasks = draw(project, 0, extend=True, seed=8)
    for task in sorted(tasks):
        studio.annotate(task, "red" if task in RED or (task in late and task % 2) else "dark")
    run(project)
    assert len(set(judged_test_set(project).inclusion.tolist())) == 2, "cases count by unequal chances"
    made = make_card(project, CardOptions(seed=project.workspace.settings.seed))
    card = made.figures()
    (_, figures), *_ = models_on_test_set(project)
    assert figures.balanced_accuracy is not None
    for name in ("balanced_accuracy", "brier_score"):
        assert asdict(getattr(figures, name)) == card[name]
    assert [asdict(one) for one in figures.classes] == card["classes"]
    assert f"Brier score, the sum of all classes: **{figures.brier_score.estimate:.3f} (" in made.markdown()
