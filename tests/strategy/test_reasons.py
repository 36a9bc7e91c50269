"""Why a task is in the queue, in words."""

import pytest

from clinical_backend.origins import Draw
from clinical_backend.strategy.reasons import UNLED_REASON, reason_for_reader, reason_of
from clinical_backend.strategy.tasks import RankedTask


def queued(draw):
    return RankedTask(1, draw, "rare", 0.9, 0.9, 7, 0.5, 0.08, 0.002, 0.2)


def test_what_is_for_the_classifier_is_not_said_to_be_like_an_exemplar():
    reason = reason_for_reader(queued(Draw.MARGIN))
    assert "teaches the classifier" in reason
    assert "task 7" not in reason
    assert "%" not in reason


@pytest.mark.parametrize("draw", Draw)
def test_each_draw_has_a_reason_of_its_own_and_random_ones_are_not_told_apart(draw):
    reasons = {reason_of(queued(one)) for one in Draw}
    assert len(reasons) == len(Draw)
    assert (reason_for_reader(queued(draw)) == UNLED_REASON) == (draw is Draw.AUDIT)
