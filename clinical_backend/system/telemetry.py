"""What libraries would send or keep of their own accord, switched off before any of them is imported.

The package does this first of all when it is imported, so it holds in each process of ours, whichever door that came
in by and on whichever machine; what it starts inherits the environment.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import MutableMapping

__all__ = ["SWITCHES", "switch_off"]

SWITCHES: Final = {
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime: its events, and a device id and a database below the home folder
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_USAGE_STATS_REPORT_URL": "http://127.0.0.1:9/",  # where it is off, Ray's head reports that
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "HF_HUB_DISABLE_XET": "1",  # a way of downloading that keeps chunks and logs below the home folder
    "DO_NOT_TRACK": "1",  # whoever else heeds it
}
"""Variables, by whose values libraries call nobody; none of them stays as the environment had it."""


def switch_off(environment: MutableMapping[str, str]) -> None:
    """Set in an environment what keeps libraries from calling out and from writing below the home folder."""
    environment.update(SWITCHES)
    if not os.access(Path(__file__).parent, os.W_OK):
        # Compiled functions are kept beside their source where that can be, and else in the home folder.
        folder = Path(environment.get("MODEL_DIR") or "clinical-data").absolute()
        environment.setdefault("NUMBA_CACHE_DIR", str(folder / "numba"))
