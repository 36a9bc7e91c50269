"""Records whom processes look up, connect to and send to, by a small library that is preloaded into them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Call:
    """What a process did: ``lookup`` of a name, ``connect`` or ``send`` to an address; and its command."""

    kind: str
    whom: str
    command: str


class Recorder:
    """Compiles the library into a folder; processes with ``environment`` are recorded."""

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc")
        if compiler is None or not sys.platform.startswith("linux"):
            pytest.skip("recording calls needs Linux and a C compiler")
        library = folder / "recorder.so"
        source = Path(__file__).with_name("recorder.c")
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
        self._record = folder / "calls"
        self.environment = {"LD_PRELOAD": str(library), "RECORD_TO": str(self._record)}

    def calls(self) -> list[Call]:
        """Return what was recorded until now."""
        lines = self._record.read_text(errors="replace").splitlines() if self._record.exists() else []
        return [Call(*line.split(" ", 2)) for line in lines]
