"""The benchmark of whole rounds on a synthetic project."""

import numpy as np
import pytest

from clinical_backend.lab.benchmarks import whole_round
from clinical_backend.lab.benchmarks.whole_round import SyntheticProject, classes_of, fill, main

TASKS = 2000


@pytest.fixture(autouse=True)
def short_features(monkeypatch):
    """Let features have a tenth of their numbers: the same rounds in a third of the time."""
    monkeypatch.setattr(whole_round, "FROZEN", 128)


@pytest.mark.parametrize("frozen", [True, False])
def test_its_rounds_find_the_rare_class_by_the_features_that_are_kept(tmp_path, frozen):
    fill(tmp_path, TASKS, frozen=frozen)
    project = SyntheticProject(tmp_path, TASKS, frozen=frozen)
    try:
        seconds, *_ = project.run_round()
        first = project.queue()
        project.run_round()
        report = project.workspace.stores.rounds.published_report(1)
    finally:
        project.close()
    assert set(seconds) == {"sync", "embed", "fit", "rank", "publish"}
    assert report.counts.pool == TASKS - 310
    assert ("adapted" in report.features) is not frozen
    rare = set((1 + np.flatnonzero(classes_of(TASKS)[300:] == 0) + 300).tolist())
    assert 2 * len(rare.intersection(first)) > len(rare) > 5  # the queue is an eighth of the pool


def test_it_says_how_long_a_round_takes(capsys):
    main([400], 1, frozen=True)
    assert "400" in capsys.readouterr().out
