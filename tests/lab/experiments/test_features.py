"""Features of labelled sets, made once."""

from pathlib import Path

import numpy as np
import pytest

from clinical_backend.lab.demo.dataset import drawn_cells
from clinical_backend.lab.experiments.datasets import LabelledImages
from clinical_backend.lab.experiments.features import adapted_features_of_set
from clinical_backend.training.adaptation import options_for


@pytest.mark.slow
def test_a_network_learns_the_pool_and_embeds_the_whole_set_once(tmp_path: Path):
    cells = drawn_cells(230, 40, seed=0)
    held_out = np.arange(230) >= 210
    data = LabelledImages("cells", cells.classes, cells.images, cells.labels, held_out)
    options = options_for(210, 50.0, device="cpu", seed=0)
    seen: list[int] = []

    def make(pool: np.ndarray) -> tuple[Path, str]:
        return adapted_features_of_set(data, pool, (64,), options, tmp_path, lambda done, _: seen.append(done))

    path, key = make(np.arange(210))
    features = np.load(path)

    assert features.shape == (230, 4 * options.width)
    assert len(np.unique(features, axis=0)) == 230
    assert seen[-1] == 100
    seen.clear()
    assert make(np.arange(210)[::-1]) == (path, key)
    assert not seen
