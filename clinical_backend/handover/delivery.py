"""A folder that appears whole, with the digests of its files, or not at all."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import threading
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, TYPE_CHECKING, Self

from clinical_backend.errors import InvalidArgumentError, StorageError
from clinical_backend.learner.artifact import file_sha256
from clinical_backend.system.permissions import make_folder
from clinical_backend.system.processes import has_ended, this_process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["SUMS", "Delivery", "DigestedFile", "delivered", "require_place", "writing"]

SUMS = "SHA256SUMS"
"""As ``sha256sum --check`` reads it."""
_MAKER = ".made-by"
_COPIED = 2**20  # bytes at a time


class DigestedFile:
    """A text file whose digest is noted when it is closed."""

    def __init__(self, delivery: Delivery, name: str) -> None:
        self._delivery, self._name = delivery, name
        self._digest = hashlib.sha256()
        self._file = delivery.opened.enter_context(delivery.open(name))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, text: str) -> None:
        """Append a text, as UTF-8."""
        content = text.encode(errors="backslashreplace")
        self._digest.update(content)
        with writing():
            self._file.write(content)

    def append(self, file: IO[bytes]) -> None:
        """Append all of another file."""
        with writing():
            file.seek(0)  # which writes what is buffered
        while part := file.read(_COPIED):
            self._digest.update(part)
            with writing():
                self._file.write(part)

    def close(self) -> None:
        """Write it to disk, and note its digest."""
        if not self._file.closed:
            with writing():
                self._file.flush()
                os.fsync(self._file.fileno())
                self._file.close()
            self._delivery.note(self._name, self._digest.hexdigest())


class Delivery:
    """What is being written; safe to use from several threads.

    Parameters
    ----------
    folder
        Where it is made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = 0
        self.opened = ExitStack()
        """Closes what is still open."""
        self._lock = threading.Lock()
        self._sums = self.opened.enter_context(self.open(SUMS))

    def open(self, name: str) -> IO[bytes]:
        """Return a new file, to be written to."""
        path = self.folder / name
        with writing():
            make_folder(path.parent)
            return path.open("xb")

    def text(self, name: str) -> DigestedFile:
        """Return a new text file, whose digest is noted at its end."""
        return DigestedFile(self, name)

    def write(self, name: str, content: bytes) -> None:
        """Write a whole file."""
        with writing(), self.open(name) as file:  # what is buffered is written when it is closed
            file.write(content)
        self.note(name, hashlib.sha256(content).hexdigest())

    def note(self, name: str, digest: str) -> None:
        """Note the digest of a file."""
        with self._lock, writing():
            self._sums.write(f"{digest}  {name}\n".encode())
            self.files += 1

    def digest(self) -> str:
        """Return the sha256 of the file of digests, and so of all that was written so far."""
        with self._lock, writing():
            self._sums.flush()
            return file_sha256(self.folder / SUMS)

    def close(self) -> None:
        """Write all digests to disk."""
        with writing():
            self._sums.flush()
            os.fsync(self._sums.fileno())
            self._sums.close()


def require_place(out: Path) -> None:
    """Refuse a name under which no folder can appear: something is there already, or it is a disk or a link.

    Raises
    ------
    InvalidArgumentError
        When it is refused.
    StorageError
        When it cannot be looked at.
    """
    with writing():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InvalidArgumentError("--out", "there is something already.", "Name a folder that is to be made.")
        if out.name in {"", ".."} or out.is_mount() or out.is_symlink():
            raise InvalidArgumentError(
                "--out", "no other folder can take its place.", "Name a folder that is to be made, such as one in it."
            )


@contextmanager
def delivered(out: Path) -> Iterator[Delivery]:
    """Make a folder within the block; it appears under its name at the end, and not at all if the block fails.

    It is made beside that name. What a process that was killed left there is deleted.

    Raises
    ------
    InvalidArgumentError
        When :func:`require_place` refuses it.
    StorageError
        When it cannot be written.
    """
    require_place(out)
    with writing():
        make_folder(out.parent)
        _clear_away(out)
        folder = out.with_name(f".{out.name}.{secrets.token_hex(8)}.part")
        make_folder(folder)
    try:
        with writing():
            (folder / _MAKER).write_text(this_process())
        delivery = Delivery(folder)
        try:
            yield delivery
            delivery.close()
        finally:
            with suppress(OSError):
                delivery.opened.close()
        with writing():
            (folder / _MAKER).unlink()
            folder.replace(out)
    except BaseException:
        with suppress(OSError):
            shutil.rmtree(folder)
        raise


@contextmanager
def writing() -> Iterator[None]:
    """Turn what the system says of a full disk, or of a folder that may not be written, into an error of ours."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"The export cannot be written ({error.strerror}). Nothing of it is left.",
            "Make room, or name another folder by --out.",
        ) from None


def _clear_away(out: Path) -> None:
    """Delete what processes left that were killed while they made the same folder."""
    for left in out.parent.iterdir():
        maker = left / _MAKER
        ours = left.name.startswith(f".{out.name}.") and left.name.endswith(".part")
        if ours and maker.is_file() and has_ended(maker.read_text()):
            shutil.rmtree(left)
