"""A labelled set of points that any classifier can tell apart."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from clinical_backend.lab.experiments.datasets import LabelledImages

Labelled = tuple[LabelledImages, NDArray[np.float32]]


@pytest.fixture(scope="session")
def labelled() -> Labelled:
    """400 images of three classes, "rare" the smallest, with features in clusters of their own."""
    generator = np.random.default_rng(0)
    labels = generator.permutation(np.repeat([0, 1, 2], [180, 180, 40]))
    centres = generator.normal(size=(3, 16))
    features = (centres[labels] + 0.5 * generator.normal(size=(400, 16))).astype(np.float32)
    held_out = generator.permutation(400) < 100
    images = list(generator.integers(0, 255, (400, 8, 8, 3)).astype(np.uint8))
    return LabelledImages("points", ("common", "frequent", "rare"), images, labels, held_out), features
