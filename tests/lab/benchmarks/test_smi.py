"""The SMI benchmark: what it measures, and how it reports."""

from __future__ import annotations

import json

import pytest

from clinical_backend.lab.benchmarks import smi
from clinical_backend.lab.benchmarks.smi_case import Case


@pytest.mark.parametrize(("engine", "function"), [("ours", "com"), ("submodlib", "logdetmi"), ("gradient", "kernel")])
def test_a_case_is_measured_with_its_time_and_memory(engine, function):
    case = Case(engine, function, 300, 4, 8, budget=5, repeats=1)
    result = smi._measure(case)
    assert result.items() >= vars(case).items()
    assert result["total"] > 0
    assert result["peak_mb"] >= 0
    if engine == "gradient":
        assert result["difference"] < 1e-6


def test_every_function_is_measured_from_a_thousand_to_a_million():
    cases = list(smi.cases(quick=False))
    for function in ("flqmi", "gcmi", "com", "logdetmi"):
        sizes = {case.n for case in cases if (case.engine, case.function) == ("ours", function)}
        assert {1_000, 1_000_000} <= sizes
    assert max(case.n for case in smi.cases(quick=True)) == 10_000


def test_results_are_written_as_numbers_table_and_plot(tmp_path, monkeypatch):
    def measured(case):
        if case.n > 1_000 and case.engine == "submodlib":
            return vars(case) | {"failure": "over 600 s"}
        times = {"total": 2.0, "kernel": 0.5, "selection": 1.5, "floor": 1.0, "ratio": 2.0, "peak_mb": 3.0}
        return (
            vars(case)
            | times
            | ({"built": 80.0, "built_peak_mb": 9.0, "difference": 1e-7} if case.engine == "gradient" else {})
        )

    monkeypatch.setattr(smi, "_measure", measured)
    smi.main(quick=True, folder=tmp_path)
    table = (tmp_path / "smi-benchmark.md").read_text()
    assert "| FLQMI | 1,000 | 10 | 128 | 1 | 0.5 | 1.5 | 2 | 3 | 0.5 | 1.5 | 3 | 1.0 | 1.0 |" in table
    assert "over 600 s" in table
    assert "40 times faster" in table
    assert len(json.loads((tmp_path / "smi-benchmark.json").read_text())["results"]) == len(list(smi.cases(quick=True)))
    assert "<svg" in (tmp_path / "smi-benchmark.svg").read_text()


def test_a_case_that_dies_is_reported_with_its_reason():
    result = smi._measure(Case("ours", "no such function", 10, 1, 2))
    assert "no such function" in result["failure"]
