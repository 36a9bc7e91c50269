"""An export is measured in a process of its own, and what it leaves is looked at."""

from __future__ import annotations

import pytest

from clinical_backend.handover.export_options import ExportOptions
from clinical_backend.lab.benchmarks.exporting import measure, measure_full_disk
from clinical_backend.lab.benchmarks.labelled_project import fill_project

LABELS = 600


@pytest.mark.slow
def test_an_export_is_measured_with_what_it_writes_and_a_full_disk_leaves_nothing(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    fill_project(model, LABELS)
    done = measure(model, LABELS, ExportOptions("csv", fields=("age",)), tmp_path / "out" / "csv")
    lines = (tmp_path / "out/csv/labels.csv").read_text().splitlines()
    assert len(lines) == 1 + LABELS
    assert (done.problem, done.left) == ("", ("csv",))
    assert done.peak > done.written > len("\n".join(lines))
    full = measure_full_disk(model, LABELS, tmp_path / "out" / "full")
    assert "cannot be written" in full.problem
    assert (full.written, full.left) == (0, ())
