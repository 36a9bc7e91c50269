"""Plots, drawn into files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from clinical_backend.errors import PlottingError

__all__ = ["pyplot"]


def pyplot() -> Any:  # noqa: ANN401 - a module, which is slow to import
    """Return matplotlib's ``pyplot``; what it keeps goes into ``.cache``, not below the home folder.

    Call it before anything long, whose plot would else be missed at its end.

    Raises
    ------
    PlottingError
        When matplotlib is not installed: the backend itself draws no plots.
    """
    os.environ.setdefault("MPLCONFIGDIR", str(Path(".cache", "matplotlib").absolute()))
    try:
        import matplotlib as mpl  # noqa: PLC0415
    except ImportError:
        raise PlottingError(
            "Plots are drawn with matplotlib, which is not installed.", "Run `pip install matplotlib`."
        ) from None

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    return plt
