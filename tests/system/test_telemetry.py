"""What is seen of whole processes is in tests/end_to_end/test_calls_out.py."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clinical_backend.system import telemetry
from clinical_backend.system.telemetry import SWITCHES, switch_off


@pytest.mark.parametrize("there", [{}, dict.fromkeys(SWITCHES, "otherwise")])
def test_switches_are_off_whatever_the_environment_says(there):
    switch_off(there)
    assert there.items() >= SWITCHES.items()


def test_compiled_functions_are_kept_in_the_model_folder_where_the_package_cannot_be_written(monkeypatch, tmp_path):
    monkeypatch.setattr(telemetry.os, "access", lambda *_: False)
    environment = {"MODEL_DIR": str(tmp_path)}
    switch_off(environment)
    assert environment["NUMBA_CACHE_DIR"] == str(tmp_path / "numba")
    chosen = {"NUMBA_CACHE_DIR": "elsewhere"}
    switch_off(chosen)
    assert chosen["NUMBA_CACHE_DIR"] == "elsewhere"


def test_plots_leave_nothing_below_the_home_folder(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "MPL"))}
    script = "from clinical_backend.lab.plotting import pyplot; pyplot().figure().savefig('plot.png')"
    environment = {**kept, "HOME": str(home), "PYTHONPATH": str(Path(telemetry.__file__).parents[2])}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment, cwd=tmp_path)
    assert (tmp_path / "plot.png").exists()
    assert list(home.iterdir()) == []
