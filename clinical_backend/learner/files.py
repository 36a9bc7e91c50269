"""Files that are either there whole or not there."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from clinical_backend.private import file_mode

__all__ = ["write_aside"]


def write_aside(path: Path, content: bytes) -> None:
    """Write a file under another name, flush it to disk, and rename it into place.

    Raises
    ------
    OSError
        When the disk is full or read-only; the old file is untouched then.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    aside = Path(name)
    try:
        aside.chmod(file_mode(path.parent))
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the system can."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
