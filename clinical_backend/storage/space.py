"""Whether anything can still be kept on the disk of MODEL_DIR."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

from clinical_backend.errors import StorageError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["require_space"]

_PROBE_BYTES = 4 * 2**20
"""A batch of 128 features with thumbnails takes 1.6 MB, a classifier with what it is judged by about as much."""


def require_space(folder: Path) -> None:
    """Reserve some megabytes for a moment: free space that a system states may be kept for others, or be over a quota.

    Raises
    ------
    StorageError
        When the disk is full, or the folder cannot be written.
    """
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, _PROBE_BYTES)
            else:
                file.write(bytes(_PROBE_BYTES))
    except OSError as error:
        raise StorageError(
            f"Nothing can be kept in {folder}: {error.strerror}.",
            "Free some space, or make the folder writable: then the backend goes on by itself.",
        ) from None
