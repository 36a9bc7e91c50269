"""Where pictures are put for readers to see them: in Label Studio, or in a folder that it serves."""

from __future__ import annotations

import secrets
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
_PROBE = "probe.txt"


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
        mark = secrets.token_hex(16).encode()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._write(_PROBE, mark)
        except OSError as error:
            raise ArchiveError(
                f"Below LOCAL_FILES_DOCUMENT_ROOT nothing can be written ({error.strerror}).",
                "Allow this user to write there, or upload the pictures with --to uploads.",
            ) from None
        try:
            served = self._shows(mark, images)
            if not served:
                project.serve_folder(str(self._folder), "Imported pictures")
                served = self._shows(mark, images)
        except LabelStudioRefusedError:  # the folder lies elsewhere for it, or it serves none
            served = False
        finally:
            (self._folder / _PROBE).unlink()
        if not served:
            raise ArchiveError(
                "Label Studio does not serve what is written below LOCAL_FILES_DOCUMENT_ROOT.",
                "Set it to the same folder for both, and LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true for Label "
                "Studio, or upload the pictures with --to uploads.",
            )

    def _shows(self, mark: bytes, images: ImageSource) -> bool:
        try:
            return images.fetch(self._address(_PROBE)) == mark
        except ImageError:
            return False

    def known(self) -> Mapping[str, str]:
        """Return the addresses of the pictures that are there already, by name."""
        names = [path.name for path in self._folder.glob("*.png")]
        return {name: self._address(name) for name in names}

    def put(self, pictures: Mapping[str, bytes]) -> Mapping[str, str]:
        """Write pictures and return their addresses by name."""
        for name, content in pictures.items():
            self._write(name, content)
        return {name: self._address(name) for name in pictures}

    def _address(self, name: str) -> str:
        return f"/data/local-files/?d={quote(str((self._folder / name).relative_to(self._root)))}"

    def _write(self, name: str, content: bytes) -> None:
        new = self._folder / f".{name}.{secrets.token_hex(8)}"
        try:
            new.write_bytes(content)
            new.replace(self._folder / name)  # a picture that is there is whole
        finally:
            new.unlink(missing_ok=True)
