from io import BytesIO

import pytest
from PIL import Image

from clinical_backend.lab.benchmarks import first_queue
from clinical_backend.lab.benchmarks.first_queue import Step, large_images, steps_of
from clinical_backend.lab.experiments.datasets import DataError
from clinical_backend.storage.report import Counts, RoundReport
from clinical_backend.storage.schema import Round, RoundState


@pytest.mark.parametrize("at_hand", [True, False])
def test_images_differ_and_have_the_size_of_the_clinic(at_hand, monkeypatch):
    if not at_hand:

        def missing(name, *, cache):
            raise DataError(f"There is no {name}.", "None.")

        monkeypatch.setattr(first_queue, "load_images", missing)
    made = list(large_images(5))
    assert len(set(made)) == 5
    assert {Image.open(BytesIO(content)).size for content in made} == {(600, 450)}
    assert {Image.open(BytesIO(content)).format for content in made} == {"JPEG"}


def test_queues_count_what_was_read_and_failed_rounds_are_none():
    def row(number, state, finished, waiting):
        report = RoundReport(counts=Counts(pool=100, waiting=waiting), seconds={"embed": 2.0})
        return Round(number=number, state=state, finished_at=finished, report=report)

    rounds = [
        row(1, RoundState.PUBLISHED, 30.0, 60),
        row(2, RoundState.FAILED, 40.0, 60),
        row(3, RoundState.PUBLISHED, 50.0, 0),
        row(4, RoundState.RUNNING, None, 0),
    ]
    assert steps_of(rounds, 10.0) == [Step(1, 20.0, 40, {"embed": 2.0}), Step(3, 40.0, 100, {"embed": 2.0})]
