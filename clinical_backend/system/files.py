"""Files that are either there whole or not there."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clinical_backend.system.permissions import file_mode

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["description_digest", "write_aside"]


def description_digest(description: Mapping[str, Any]) -> str:
    """Return the sha256 of what a JSON file says, its own entry ``sha256`` left out."""
    said = {name: value for name, value in description.items() if name != "sha256"}
    canonical = json.dumps(said, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


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
