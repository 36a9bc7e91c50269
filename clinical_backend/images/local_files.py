"""Files of ``/data/local-files/`` that this machine shares with Label Studio."""

from __future__ import annotations

import os
import posixpath
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from clinical_backend.errors import ImageError
from clinical_backend.images.look import Look

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["LocalFiles"]


class LocalFiles:
    """Reads files inside configured folders, and nowhere else.

    Parameters
    ----------
    roots
        Folders that stand for Label Studio's ``LOCAL_FILES_DOCUMENT_ROOT``. Symbolic links are resolved
        before a path is compared with them, so a link that leads out of a root leads nowhere.
    size_limit
        Most bytes that a file may have.
    """

    def __init__(self, roots: Iterable[Path], *, size_limit: int) -> None:
        self._roots = tuple(Path(root).resolve() for root in roots)
        self._size_limit = size_limit

    def read(self, name: str, mark: str | None = None) -> Look | None:
        """Return the content of a file, or ``None`` where no root holds a readable file of that name.

        Parameters
        ----------
        name
            The ``d`` parameter of the address: a path relative to the document root. As in Label Studio, a
            leading slash changes nothing.
        mark
            What the file had when it was read before: with the same one it is not read again.

        Raises
        ------
        ImageError
            When the file is too large.
        """
        relative = posixpath.normpath(name).lstrip("/")
        for root in self._roots:
            try:
                path = (root / relative).resolve(strict=True)
            except (OSError, ValueError, RuntimeError):  # missing, a NUL in the name, a loop of links
                continue
            if path.is_relative_to(root) and path != root:
                look = self._look(root, path.relative_to(root).parts, mark)
                if look is not None:
                    return look
        return None

    def _look(self, root: Path, parts: tuple[str, ...], mark: str | None) -> Look | None:
        try:
            with open(_open_inside(root, parts), "rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    return None
                now = f"file {status.st_size} {status.st_mtime_ns}"
                if now == mark:
                    return Look(None, mark)
                content = file.read(self._size_limit + 1)
        except OSError:
            return None
        if len(content) > self._size_limit:
            raise ImageError(
                f"The local file of the image has more than {self._size_limit / 2**20:.0f} MiB.",
                "Provide a smaller version of it.",
            )
        return Look(content, now)


def _open_inside(root: Path, parts: tuple[str, ...]) -> int:
    """Open a resolved path step by step: a link that appeared in it since leads nowhere, a pipe is not waited for."""
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    finally:
        os.close(folder)
