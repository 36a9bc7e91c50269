"""Plots, drawn into files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

__all__ = ["pyplot"]


def pyplot() -> Any:  # noqa: ANN401 - a module, which is slow to import
    """Return matplotlib's ``pyplot``; what it keeps goes into ``.cache``, not below the home folder."""
    os.environ.setdefault("MPLCONFIGDIR", str(Path(".cache", "matplotlib").absolute()))
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    return plt
