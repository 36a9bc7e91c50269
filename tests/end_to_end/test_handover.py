"""What is handed over fits together: labels, card and the model's file, each made by its command."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from clinical_backend.lab.benchmarks.handover import handed_over
from clinical_backend.lab.benchmarks.patient_images import PatientImage
from clinical_backend.lab.demo.dataset import drawn_cells
from tests.conftest import CACHE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def as_jpeg(pixels):
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=95)
    return stream.getvalue()


@pytest.mark.usefixtures("exported_backbones")
def test_the_cards_figures_are_those_of_the_exported_labels_and_of_the_exported_model_elsewhere():
    cells = drawn_cells(150, 45, seed=0)
    sexes = np.random.default_rng(0).choice(["f", "m"], 150)
    images = [
        PatientImage(as_jpeg(pixels), ".jpg", cells.classes[code], f"patient {place // 2}", {"sex": str(sexes[place])})
        for place, (pixels, code) in enumerate(zip(cells.images, cells.labels.tolist(), strict=True))
    ]
    with handed_over(images, CACHE) as project:
        of_labels, of_test_set = project.check(cells.classes[0], set_aside=50, labels=50)
    assert {"average_precision", "sensitivity", "specificity"} <= {one.figure for one in of_labels.differences}
    assert {"average_precision", "sensitivity", "specificity"} == {one.figure for one in of_test_set.differences}
    assert max(of_labels.largest, of_test_set.largest) < 1e-9
