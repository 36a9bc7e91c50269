"""Where pictures are put for readers to see them: in Label Studio, or in a folder that it serves."""

from __future__ import annotations

import secrets
import stat
from functools import cached_property
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

from clinical_backend.errors import ArchiveError, ImageError, LabelStudioRefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from clinical_backend.images.sources import ImageSource
    from clinical_backend.labelstudio.project_import import ProjectImport

__all__ = ["LocalFolder", "Place", "Uploads"]

_FOLDER = "clinical-import"


class Place(Protocol):
    """Keeps pictures under addresses that a task can name."""

    def known(self) -> Mapping[str, str]:
        """Return the addresses of the pictures that are there already, by name."""

    def put(self, pictures: Mapping[str, bytes]) -> Mapping[str, str]:
        """Keep pictures and return their addresses by name."""


class Uploads:
    """Pictures that are uploaded to Label Studio.

    Parameters
    ----------
    project
        Where to.
    """

    def __init__(self, project: ProjectImport) -> None:
        self._project = project

    def known(self) -> Mapping[str, str]:
        """Return the addresses of the pictures that are there already, by name."""
        return self._project.uploaded()

    def put(self, pictures: Mapping[str, bytes]) -> Mapping[str, str]:
        """Upload pictures and return their addresses by name."""
        return self._project.upload(pictures)


class LocalFolder:
    """Pictures in a folder of this machine that Label Studio serves: it is not asked to carry them.

    Who may read the root may read them: Label Studio often runs as another user.

    Parameters
    ----------
    root
        LOCAL_FILES_DOCUMENT_ROOT.
    project_id
        Of the project, which has a folder of its own.
    """

    def __init__(self, root: Path, project_id: int) -> None:
        self._root = root
        self._folder = root / _FOLDER / str(project_id)

    def open(self, project: ProjectImport, images: ImageSource) -> None:
        """Make the folder, have Label Studio serve it, and see that it does.

        Raises
        ------
        ArchiveError
            When it cannot be written to, or Label Studio does not serve what is written there.
        """
        probe = f"{secrets.token_hex(16)}.txt"  # its own, since several imports may run at once
        try:
            for folder in (self._folder.parent, self._folder):
                if not folder.exists():
                    folder.mkdir(exist_ok=True)
                    folder.chmod(self._mode)
        except OSError as error:
            raise _not_written(error) from None
        self._write(probe, probe.encode())
        try:
            served = self._shows(probe, images)
            if not served:
                project.serve_folder(str(self._folder), "Imported pictures")
                served = self._shows(probe, images)
        except LabelStudioRefusedError:  # the folder lies elsewhere for it, or it serves none
            served = False
        finally:
            (self._folder / probe).unlink(missing_ok=True)
        if not served:
            raise ArchiveError(
                "Label Studio does not serve what is written below LOCAL_FILES_DOCUMENT_ROOT.",
                "Set it to the same folder for both, which Label Studio's user may read, and for Label Studio "
                "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true, or upload the pictures with --to uploads.",
            )

    def _shows(self, probe: str, images: ImageSource) -> bool:
        try:
            return images.fetch(self._address(probe)) == probe.encode()
        except ImageError:
            return False

    def known(self) -> Mapping[str, str]:
        """Return the addresses of the pictures that are there already, by name."""
        names = [path.name for path in self._folder.glob("*.png")]
        return {name: self._address(name) for name in names}

    def put(self, pictures: Mapping[str, bytes]) -> Mapping[str, str]:
        """Write pictures and return their addresses by name.

        Raises
        ------
        ArchiveError
            When the disk is full, or takes nothing any more.
        """
        for name, content in pictures.items():
            self._write(name, content)
        return {name: self._address(name) for name in pictures}

    def _address(self, name: str) -> str:
        return f"/data/local-files/?d={quote(str((self._folder / name).relative_to(self._root)))}"

    @cached_property
    def _mode(self) -> int:
        return stat.S_IMODE(self._root.stat().st_mode)

    def _write(self, name: str, content: bytes) -> None:
        new = self._folder / f".{name}.{secrets.token_hex(8)}"
        try:
            try:
                new.write_bytes(content)
                new.chmod(self._mode & 0o666)
                new.replace(self._folder / name)  # a picture that is there is whole
            except BaseException:
                new.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise _not_written(error) from None


def _not_written(error: OSError) -> ArchiveError:
    return ArchiveError(
        f"Below LOCAL_FILES_DOCUMENT_ROOT nothing can be written ({error.strerror}).",
        "Make room, and let this user write there, then run it again to go on; or upload the pictures with "
        "--to uploads.",
    )
