import pytest

from clinical_backend.web.pages.progress import progress_of

BEFORE = {"sync": 1.0, "embed": 20.0, "fit": 3.0, "rank": 4.0, "publish": 2.0}


def test_a_stage_that_counts_is_judged_by_its_own_speed():
    # 10 s for a quarter of the images: 30 s for the rest, then fit, rank and publish as before
    assert progress_of("embed", 25, 100, elapsed=11.0, before=BEFORE).seconds_left == pytest.approx(30 + 9)


def test_a_stage_that_does_not_count_is_judged_by_the_round_before():
    assert progress_of("fit", 0, 0, elapsed=22.0, before=BEFORE).seconds_left == pytest.approx(2 + 6)


def test_a_stage_that_takes_longer_than_before_does_not_run_backwards():
    assert progress_of("publish", 0, 0, elapsed=500.0, before=BEFORE).seconds_left == 0


@pytest.mark.parametrize(("stage", "total"), [("sync", 0), ("embed", 100), ("a later version's stage", 0)])
def test_nothing_is_said_of_what_nothing_tells(stage, total):
    assert progress_of(stage, 0, total, elapsed=5.0, before={}).seconds_left is None


def test_the_first_round_is_judged_by_its_images():
    assert progress_of("embed", 50, 100, elapsed=10.0, before={}).seconds_left == pytest.approx(10)
