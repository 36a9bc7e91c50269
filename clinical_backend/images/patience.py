"""How long a round waits for images: in all, and for each host, so that a slow one keeps nobody waiting for long."""

from __future__ import annotations

import math
import threading
import time
from urllib.parse import urlsplit

from clinical_backend.study import file_of

__all__ = ["LABEL_STUDIO", "Patience", "host_of"]

LABEL_STUDIO = "Label Studio"
"""Stands for the host of addresses without one."""

_USUAL_SECONDS = 2.0
_USUAL_BYTES_PER_SECOND = 2**18
"""An image that takes longer than two seconds and the time of its bytes at 256 KiB/s, a poor line's speed, is slow."""


class Patience:
    """Counts the time that hosts take beyond the usual; safe to use from several threads.

    What an image comes earlier than usual, it gives back: a host that is slow now and then is not left for that.

    Parameters
    ----------
    seconds
        Time for all images together, counted from now.
    host_seconds
        Time beyond the usual for the images of one host.
    """

    def __init__(self, seconds: float = math.inf, host_seconds: float = math.inf) -> None:
        self.deadline = time.monotonic() + seconds
        self._host_seconds = host_seconds
        self._spent: dict[str, float] = {}
        self._lock = threading.Lock()

    @property
    def is_over(self) -> bool:
        """Whether the time for all images is over."""
        return time.monotonic() >= self.deadline

    def has_left(self, host: str) -> bool:
        """Whether a host took so long that its other images are left for later."""
        with self._lock:
            return self._spent.get(host, 0.0) >= self._host_seconds

    def spend(self, host: str, seconds: float, size: int) -> None:
        """Count the time that an image of so many bytes took."""
        beyond = seconds - _USUAL_SECONDS - size / _USUAL_BYTES_PER_SECOND
        with self._lock:
            self._spent[host] = max(0.0, self._spent.get(host, 0.0) + beyond)


def host_of(uri: str) -> str:
    """Return where an image comes from, for people: a host, a bucket, or Label Studio itself."""
    try:
        parts = urlsplit(file_of(uri).strip())
    except ValueError:
        return LABEL_STUDIO
    if not parts.netloc or parts.scheme == "data":
        return LABEL_STUDIO
    host = parts.netloc.rpartition("@")[2].lower()
    return host if parts.scheme in {"http", "https"} else f"{parts.scheme}://{host}"
