"""Who may read MODEL_DIR: the user of the backend alone, or a group to whom the folder was given on purpose.

Features, thumbnails and previews are of patients' images. A folder with the set-group-ID bit (``chmod 2770``), which is
how Unix marks one that is shared, keeps its group's rights, and what is made in it gets them too.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from clinical_backend.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["file_mode", "keep_archive_private", "keep_private", "make_file", "make_folder", "private_umask"]

logger = logging.getLogger(__name__)

_OURS = (
    "adapted",
    "backbones",
    "checkpoints",
    "features",
    "finetuned",
    "locks",
    "maps",
    "numba",
    "previews",
    "settings-previews",
)
"""Folders in MODEL_DIR. What else lies there is not the backend's to change."""

_OUR_FILES = (
    "clinical.sqlite3",
    "clinical.sqlite3-wal",
    "clinical.sqlite3-shm",
    "clinical.sqlite3-seal",
    "clinical.sqlite3-changed",
    "database-id",
    "pseudonym-key",
)


def private_umask(folder: Path) -> int:
    """Return the umask with which a process makes files that MODEL_DIR's readers alone may read."""
    return 0o777 & ~_folder_mode(folder)


def file_mode(folder: Path) -> int:
    """Return the mode of files in MODEL_DIR."""
    return _folder_mode(folder) & 0o666


def make_file(path: Path) -> None:
    """Make an empty file with the mode of its folder's, unless it is there.

    Raises
    ------
    OSError
        When that is impossible.
    """
    try:
        path.touch(mode=0o600, exist_ok=False)
    except FileExistsError:
        return
    path.chmod(file_mode(path.parent))


def make_folder(folder: Path) -> None:
    """Make a folder that others cannot look into, whatever the umask, with those above it that are missing.

    Raises
    ------
    OSError
        When that is impossible.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            continue
        shared = path.parent.stat().st_mode & stat.S_ISGID
        path.chmod(0o2770 if shared else 0o700)
    if not folder.is_dir():
        raise FileExistsError(errno.EEXIST, "File exists", str(folder))


def keep_private(folder: Path) -> None:
    """Make MODEL_DIR, or take away what others may do with it, and with what an earlier version left in it.

    A folder that is everybody's, as ``/tmp`` is, stays so, but not what the backend keeps there.

    Raises
    ------
    OSError
        When it cannot be made.
    StorageError
        When another user's files in it keep this one out.
    """
    make_folder(folder)
    _require_rights(folder)
    others = 0o777 & ~_folder_mode(folder)
    if not folder.stat().st_mode & stat.S_ISVTX:
        _tighten(folder, others)
    for name in _OUR_FILES:
        _tighten(folder / name, others)
    for name in _OURS:
        if _rights(folder / name) & others:
            for parent, folders, files in os.walk(folder / name):
                for entry in (*folders, *files):
                    _tighten(Path(parent) / entry, others)
            _tighten(folder / name, others)  # last: should this be cut off, the next start goes on with it


def keep_archive_private(descriptor: int, folder: Path) -> None:
    """Take from others what they may do with an open file that a folder is copied to; a pipe is left as it is.

    Whoever opened it, as a shell does by its own umask, may not have thought of what would be in it.
    """
    status = os.fstat(descriptor)
    others = status.st_mode & 0o777 & ~_folder_mode(folder)
    if not stat.S_ISREG(status.st_mode) or not others:
        return
    try:
        os.fchmod(descriptor, stat.S_IMODE(status.st_mode) & ~others)
    except OSError as error:
        logger.warning("Others may read the archive: its rights cannot be changed (%s)", error.strerror)


def _require_rights(folder: Path) -> None:
    """Refuse a folder that another user has worked with, where this one may not go on.

    Looked at are the folders of the backend and what lies directly in them: of one user's files, each is.
    """
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        return  # whose its files are has nothing to do with it
    for path in _kept(folder):
        try:
            status = path.lstat()
        except FileNotFoundError:
            continue
        rights = os.R_OK | os.W_OK | (os.X_OK if stat.S_ISDIR(status.st_mode) else 0)
        if status.st_uid != os.getuid() and not stat.S_ISLNK(status.st_mode) and not os.access(path, rights):
            ours, theirs = f"{os.getuid()}:{os.getgid()}", f"{status.st_uid}:{status.st_gid}"
            raise StorageError(
                f"{path} belongs to another user ({theirs}), and the one that the backend runs as ({ours}) may not"
                " read and write it.",
                f"While no backend runs, give it to this one, as root: chown -R {ours} {folder}"
                " (of a volume: docs/deploy.md, Users and volumes), or run the backend as its owner.",
            )


def _kept(folder: Path) -> Iterator[Path]:
    yield folder
    yield from (folder / name for name in _OUR_FILES)
    for name in _OURS:
        yield folder / name
        if (folder / name).is_dir():
            yield from (folder / name).iterdir()


def _folder_mode(folder: Path) -> int:
    try:
        return 0o770 if folder.stat().st_mode & stat.S_ISGID else 0o700
    except FileNotFoundError:
        return 0o700


def _rights(path: Path) -> int:
    try:
        return 0 if path.is_symlink() else stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return 0


def _tighten(path: Path, others: int) -> None:
    rights = _rights(path)
    if not rights & others:
        return
    try:
        path.chmod(rights & ~others)
    except FileNotFoundError:
        return  # another process just removed it
    except OSError as error:
        logger.warning("Others may read %s: its rights cannot be changed (%s)", path, error.strerror)
