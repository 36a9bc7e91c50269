"""Tasks of several images for experiments: bags that are drawn, and studies of a table."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from clinical_backend.errors import InvalidArgumentError
from clinical_backend.lab.experiments.datasets import LabelledImages, load_images
from clinical_backend.lab.experiments.protocol import Protocol, draw
from clinical_backend.lab.experiments.runs import Run
from clinical_backend.lab.experiments.simulation import simulate
from clinical_backend.lab.experiments.studies import StudyLearner, studies_of, tasks_of

PROTOCOL = Protocol("cells", rare_share=0.1, pool=100, exemplars=4, labels=20, batch=10, images=6)


@pytest.fixture(scope="module")
def cells():
    """Return single images of five classes, of which the smallest is rare, and their features."""
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2, 3, 4], [200, 200, 200, 200, 80])
    held_out = generator.random(len(labels)) < 0.3
    features = generator.normal(size=(5, 16))[labels] + 0.4 * generator.normal(size=(len(labels), 16))
    data = LabelledImages("cells", ("a", "b", "c", "d", "rare"), [b""] * len(labels), labels, held_out)
    return data, features.astype(np.float32)


@pytest.mark.parametrize("rare_images", [1, 6])
def test_a_rare_bag_has_as_many_rare_images_as_are_asked_for_and_a_common_one_none(cells, rare_images):
    data, _ = cells
    studies = studies_of(replace(PROTOCOL, rare_images=rare_images), data, 0)
    assert studies.data.classes == ("rare", "none of these")
    rare = np.array([np.sum(data.labels[images] == 4) for images in studies.images])
    assert set(rare[studies.data.labels == 0]) == {rare_images}
    assert set(rare[studies.data.labels == 1]) == {0}
    tested = {image for task in np.flatnonzero(studies.data.held_out) for image in studies.images[task]}
    assert data.held_out[list(tested)].all()


def test_bags_of_more_rare_images_than_they_hold_are_refused(cells):
    with pytest.raises(InvalidArgumentError, match="rare_images"):
        studies_of(replace(PROTOCOL, rare_images=7), cells[0], 0)


@pytest.mark.parametrize("way", ["frozen", "mean", "pooled", "witness", "named", "live"])
def test_bags_are_simulated_by_every_way_of_looking_at_them(cells, way):
    data, features = cells
    studies = studies_of(PROTOCOL, data, 0)
    protocol = tasks_of(PROTOCOL, studies)
    drawn = draw(protocol, studies.data, 0)
    assert len(drawn.exemplars) == 4
    adapted = (features[:, :8],) if way == "live" else ()
    learner = StudyLearner(studies, features, way, *adapted)
    outcome = simulate(protocol, drawn, studies.data, learner, "auto", seed=0)
    assert len(outcome.found) == 20
    assert way in {"mean", "pooled"} or outcome.found[-1] >= 7


def test_a_set_of_single_images_has_no_studies(cells):
    assert studies_of(replace(PROTOCOL, images=1), cells[0], 0) is None


def test_a_table_with_studies_makes_tasks_of_their_images(tmp_path):
    with (tmp_path / "series.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "label", "study"])
        for study in range(10):
            for slice_ in range(3):
                name = f"{study}-{slice_}.png"
                Image.new("L", (6, 6), 10 * study + slice_).save(tmp_path / name)
                table.writerow([name, "lesion" if study < 4 and slice_ == 1 else "clear", f"study {study}"])
    data = load_images(str(tmp_path / "series.csv"), cache=tmp_path)
    studies = studies_of(Protocol(str(tmp_path / "series.csv"), rare_classes=("lesion",)), data, 0)
    assert len(studies.data) == 10
    assert {len(images) for images in studies.images} == {3}
    named = np.array(studies.data.classes)[studies.data.labels]
    assert np.count_nonzero(named == "lesion") == 4
    assert np.count_nonzero(studies.data.held_out) == 3


def test_results_of_single_images_keep_their_key():
    run = Run("cells", replace(PROTOCOL, images=1), "auto", 0, "frozen", (), "", None)
    assert "images" not in run.configuration["protocol"]
    assert replace(run, protocol=PROTOCOL).configuration["protocol"]["images"] == 6
