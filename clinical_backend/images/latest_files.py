"""Files with several pages, kept for a moment: a TIFF file may have several, and a DICOM file several frames."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from clinical_backend.study import FilePage

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

__all__ = ["LatestFiles"]

_KEPT_BYTES = 128 * 2**20
"""Of files that stay in memory for their next pages: two of the largest, or as many usual ones as hosts take turns."""
_KEPT_SECONDS = 60.0
"""Longer than the pages of a task take mostly, and less than the wait after which a page that failed is tried again: by
then the file may have been replaced. Chosen, not measured."""


@dataclass(slots=True)
class _File:
    started: float = field(default_factory=time.monotonic)
    size: int = 0
    future: Future[tuple[bytes, str]] = field(default_factory=Future)

    @property
    def is_fresh(self) -> bool:
        return time.monotonic() - self.started < _KEPT_SECONDS or not self.future.done()


class LatestFiles:
    """Files whose pages are asked for one by one: each is read once for all that follow each other.

    Safe to call from several threads: who asks for a file that another one reads waits for it.
    """

    def __init__(self) -> None:
        self._files: OrderedDict[Hashable, _File] = OrderedDict()
        self._lock = threading.Lock()

    def page(self, key: Hashable, page: int, read: Callable[[], bytes]) -> FilePage:
        """Return a page of a file.

        Parameters
        ----------
        key
            Identifies the file.
        page
            Its number, from 0.
        read
            Reads the file; what it raises is raised to all who wait, and the next one reads again.
        """
        with self._lock:
            known = self._files.get(key)
            known = known if known is not None and known.is_fresh else None
            file = self._files[key] = known or _File()
            self._files.move_to_end(key)
        if known is None:
            self._read(key, file, read)
        return FilePage.of(*file.future.result(), page, fetched=known is None)

    def forget(self) -> None:
        """Let go of all files."""
        with self._lock:
            self._files.clear()

    def _read(self, key: Hashable, file: _File, read: Callable[[], bytes]) -> None:
        try:
            content = read()
        except BaseException as error:
            with self._lock:
                if self._files.get(key) is file:
                    del self._files[key]
            file.future.set_exception(error)
            raise
        file.size = len(content)
        with self._lock:
            while len(self._files) > 1 and sum(one.size for one in self._files.values()) > _KEPT_BYTES:
                self._files.popitem(last=False)
        file.future.set_result((content, hashlib.sha256(content).hexdigest()))
