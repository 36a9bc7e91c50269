"""Files with several pages, kept for a moment: a TIFF file may have several, and a DICOM file several frames."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from concurrent.futures import Future
from typing import TYPE_CHECKING

from clinical_backend.study import FilePage

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

__all__ = ["LatestFiles"]

_KEPT = 2
"""Files that stay in memory for their next pages: hosts take turns, two of them mostly. 128 MiB at the most."""


class LatestFiles:
    """Files whose pages are asked for one by one: each is read once for all that follow each other.

    Safe to call from several threads: who asks for a file that another one reads waits for it.
    """

    def __init__(self) -> None:
        self._files: OrderedDict[Hashable, Future[tuple[bytes, str]]] = OrderedDict()
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
            future: Future[tuple[bytes, str]] = known or Future()
            self._files[key] = future
            self._files.move_to_end(key)
            while len(self._files) > _KEPT:
                self._files.popitem(last=False)
        if known is None:
            try:
                content = read()
            except BaseException as error:
                with self._lock:
                    if self._files.get(key) is future:
                        del self._files[key]
                future.set_exception(error)
                raise
            future.set_result((content, hashlib.sha256(content).hexdigest()))
        return FilePage.of(*future.result(), page)
