"""DICOM files in folders, in ZIP archives, or alone."""

from __future__ import annotations

import io
import lzma
import os
import re
import stat
import threading
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from clinical_backend.archive.found import Found, PassedOver
from clinical_backend.archive.header import described, header_of
from clinical_backend.errors import ArchiveError
from clinical_backend.images.decoders.decoding import PREAMBLE, has_preamble

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pydicom import Dataset

__all__ = ["SIZE_LIMIT", "DicomFiles"]

SIZE_LIMIT = 2**30
"""Bytes of an object: a breast tomosynthesis has some hundred MB. One that is larger is passed over."""
_LONGEST_LIST = 32 * 2**20
"""Bytes of the list of a ZIP archive: some 300,000 files of usual names, or 700,000 of the shortest ones, for which
zipfile takes 0.3 GB."""
_TAIL = 2**17  # where a ZIP archive says where its list is: 66 KB at most
_INSIDE = "!/"  # between a ZIP archive's path and that of a file in it
_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, RuntimeError, ValueError, EOFError)


class DicomFiles:
    """Finds DICOM files below paths, by their content; links to folders are passed over.

    Parameters
    ----------
    paths
        Folders, ZIP archives and files.
    size_limit
        Most bytes of one file.

    Raises
    ------
    ArchiveError
        When a path is not there, or may not be looked at.
    """

    def __init__(self, paths: Sequence[Path], *, size_limit: int = SIZE_LIMIT) -> None:
        for path in paths:
            try:
                there = path.exists()
            except OSError as error:
                raise ArchiveError(
                    f"{str(path)!r} cannot be looked at ({error.strerror}).", "Give a path that this user may read."
                ) from None
            if not there:
                raise ArchiveError(f"There is no file or folder {str(path)!r}.", "Give the path of what to import.")
        self._paths = tuple(paths)
        self._size_limit = size_limit
        self._archives = _OpenArchive()

    def find(self) -> Iterator[Found | PassedOver]:
        """Yield the DICOM objects below the paths, and what is passed over, in order of the paths."""
        for path in self._paths:
            for file in _files(path):
                if isinstance(file, PassedOver):
                    yield file
                else:
                    yield from self._of_file(file)

    def read(self, found: Found) -> bytes:
        """Return a whole file.

        Raises
        ------
        ArchiveError
            When it cannot be read any more, or is too large.
        """
        with self._open(found) as file:
            data = file.read(self._size_limit + 1)
        if len(data) > self._size_limit:
            raise ArchiveError(f"It cannot be read: {self._too_large}.", "Import a smaller version of it.")
        return data

    def describe(self, found: Found) -> Dataset:
        """Return all that a file says, without its pixels.

        Raises
        ------
        ArchiveError
            When it cannot be read any more, or is damaged.
        """
        with self._open(found) as file:
            return described(file)

    @contextmanager
    def _open(self, found: Found) -> Iterator[IO[bytes]]:
        outer, inner = _split(found.name)
        try:
            if inner:
                with self._archives.member(outer, inner) as member:
                    yield member
            else:
                with Path(found.name).open("rb") as file:
                    yield file
        except (*_DAMAGED, KeyError) as error:
            raise ArchiveError(
                f"A file cannot be read any more ({type(error).__name__}).", "Run the import again."
            ) from None

    @property
    def _too_large(self) -> str:
        return f"it has more than {self._size_limit / 2**20:.0f} MiB"

    def _of_file(self, path: Path) -> Iterator[Found | PassedOver]:
        name = str(path)
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                yield PassedOver(name, "no file")
                return
            with path.open("rb") as file:
                # A DICOM file may end like a ZIP archive.
                if not has_preamble(file.read(PREAMBLE)) and zipfile.is_zipfile(file):
                    if _listing_size(name) > _LONGEST_LIST:
                        yield PassedOver(name, "it lists too many files: unpack it, and name the folder")
                    else:
                        yield from self._of_archive(name)
                    return
                file.seek(0)
                yield self._of(name, file, status.st_size)
        except _DAMAGED as error:
            yield PassedOver(name, _unread(error))

    def _of_archive(self, name: str) -> Iterator[Found | PassedOver]:
        with zipfile.ZipFile(name) as archive:
            for member in sorted(archive.infolist(), key=lambda one: one.filename):
                inside = f"{name}{_INSIDE}{member.filename}"
                if not member.filename:
                    yield PassedOver(inside, "a file in the ZIP archive has no name")
                    continue
                if member.is_dir():
                    continue
                if archive.getinfo(member.filename) is not member:
                    yield PassedOver(inside, "another file in the ZIP archive has the same name")
                    continue
                if member.flag_bits & 1:
                    yield PassedOver(inside, "it is encrypted")
                    continue
                try:
                    with archive.open(member) as file:
                        yield self._of(inside, file, member.file_size)
                except _DAMAGED as error:
                    yield PassedOver(inside, _unread(error))

    def _of(self, name: str, file: IO[bytes], size: int) -> Found | PassedOver:
        if size > self._size_limit:
            return PassedOver(name, self._too_large)
        header = header_of(file)
        if header is None:
            return PassedOver(name, "no DICOM file, or a damaged one")
        reason = header.reason_against(secondary=True)  # whether they are wanted is the caller's to say
        return PassedOver(name, reason) if reason else Found(name, header)


class _Tail(io.FileIO):
    """The end of a ZIP archive, up to its list of files, which zipfile would read at once however long it is."""

    asked = 0

    def read(self, size: int | None = -1) -> bytes:
        """Return what is asked for, unless it is the list."""
        if size is not None and size > _TAIL:
            self.asked = size
            raise zipfile.BadZipFile
        return super().read(size) or b""


def _listing_size(name: str) -> int:
    """Return how many bytes the list of a ZIP archive has; zero where they are few."""
    with _Tail(name) as file:
        try:
            zipfile.ZipFile(file).close()
        except zipfile.BadZipFile:
            if not file.asked:
                raise
        return file.asked


def _split(name: str) -> tuple[str, str]:
    """Return the path of a ZIP archive and the name of a file in it; the latter is empty for a file of its own."""
    places = [match.start() for match in re.finditer(re.escape(_INSIDE), name)]
    outer = next((name[:at] for at in places if Path(name[:at]).is_file()), None)
    if outer is None:
        return name, ""
    return outer, name[len(outer) + len(_INSIDE) :]


def _unread(error: Exception) -> str:
    """Return why a file is passed over, for people."""
    if isinstance(error, OSError) and error.strerror:
        return f"it cannot be read ({error.strerror})"
    return "it is damaged, or packed in a way that is not read"


class _OpenArchive:
    """Keeps the ZIP archive that was asked last open: to read the list of one of 20,000 files takes 0.3 s."""

    def __init__(self) -> None:
        self._name = ""
        self._archive: zipfile.ZipFile | None = None
        self._lock = threading.Lock()

    def member(self, name: str, inner: str) -> IO[bytes]:
        """Open a file of an archive; it can be read beside others, and outlasts the archive's turn.

        Raises
        ------
        KeyError, OSError, zipfile.BadZipFile
            When it is not there, or damaged.
        """
        with self._lock:
            if self._archive is None or self._name != name:
                opened = zipfile.ZipFile(name)
                if self._archive is not None:
                    self._archive.close()
                self._name, self._archive = name, opened
            return self._archive.open(inner)


def _files(path: Path) -> Iterator[Path | PassedOver]:
    if not path.is_dir():
        yield path
        return
    hidden: list[PassedOver] = []

    def refuse(error: OSError) -> None:
        hidden.append(PassedOver(str(error.filename), f"the folder cannot be read ({error.strerror})"))

    for folder, folders, names in os.walk(path, onerror=refuse):
        folders.sort()  # os.walk goes on in this order
        for name in folders:
            if Path(folder, name).is_symlink():
                yield PassedOver(str(Path(folder, name)), "a link to a folder: name that folder")
        for name in sorted(names):
            yield Path(folder, name)
    yield from hidden
