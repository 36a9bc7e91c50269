"""Kept models: tensors as safetensors, exported networks as ONNX, and JSON that vouches for them; no pickle."""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from clinical_backend.errors import ModelError
from clinical_backend.system.files import description_digest, write_aside
from clinical_backend.system.permissions import make_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["Artifact", "ArtifactKind", "file_sha256", "sha256"]

_FORMAT = 2  # in format 1 each kind noted its files in its own way
_SUFFIXES = {"model": "onnx", "answers": "json"}  # every other part is safetensors
_JSON_PART = re.compile(r"-[0-9a-f]{16}\.json", re.ASCII)  # what describes a kind has no digest in its name


class _ChangedError(Exception):
    """A file is not what was written."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A kept model whose description was checked; its files are checked as they are read.

    Attributes
    ----------
    description
        What was kept beside the files.
    """

    description: dict[str, Any]
    _folder: Path
    _files: Mapping[str, Mapping[str, str]]

    def read(self, part: str) -> bytes:
        """Return the content of a file."""
        content = (self._folder / self._files[part]["name"]).read_bytes()
        if sha256(content) != self.digest(part):
            raise _ChangedError
        return content

    def path(self, part: str) -> Path:
        """Return where a file is, after a check."""
        path = self._folder / self._files[part]["name"]
        if file_sha256(path) != self.digest(part):
            raise _ChangedError
        return path

    def digest(self, part: str) -> str:
        """Return the sha256 of a file as it was written."""
        return self._files[part]["sha256"]


@dataclass(frozen=True, slots=True)
class ArtifactKind:
    """A kind of model that is kept in a folder.

    Attributes
    ----------
    name
        What its files' names begin with; its description is ``name.json``.
    noun
        What errors call it.
    cure
        What helps where it is missing or damaged.
    """

    name: str
    noun: str
    cure: str

    def file_name(self, part: str, digest: str) -> str:
        """Return the name of a file with this sha256."""
        return f"{self.name}-{digest[:16]}.{_SUFFIXES.get(part, 'safetensors')}"

    def save(self, folder: Path, description: Mapping[str, Any], contents: Mapping[str, bytes]) -> None:
        """Write a model; one that is there already is replaced in one step.

        The files have names of their own; the JSON that names them is renamed into place last. So a reader, or a
        crash, meets the old model or the new one.

        Parameters
        ----------
        description
            What is kept beside the files, as JSON has it.
        contents
            The files, by part.

        Raises
        ------
        ModelError
            When the folder cannot be written.
        """
        digests = {part: sha256(content) for part, content in contents.items()}
        files = {part: {"name": self.file_name(part, digest), "sha256": digest} for part, digest in digests.items()}
        written = {**description, "format": _FORMAT, "files": files}
        written["sha256"] = description_digest(written)
        try:
            make_folder(folder)
            for part, content in contents.items():
                write_aside(folder / files[part]["name"], content)
            write_aside(self._described(folder), json.dumps(written, indent=2, allow_nan=False).encode())
            self._remove_others(folder, {file["name"] for file in files.values()})
        except OSError as error:
            raise ModelError(
                f"The {self.noun} cannot be written ({error.strerror}).", "Free some space, or make MODEL_DIR writable."
            ) from None

    def is_in(self, folder: Path) -> bool:
        """Tell whether one is kept in a folder, whole or not."""
        return self._described(folder).is_file()

    def forget(self, folder: Path) -> None:
        """Make it pass for not kept; a folder that cannot be written stays as it is."""
        with suppress(OSError):
            self._described(folder).unlink(missing_ok=True)

    @contextmanager
    def opened(self, folder: Path) -> Iterator[Artifact]:
        """Open what is kept. Whatever is wrong with it, up to the end of the context, is refused with the cure.

        Raises
        ------
        ModelError
            When it is missing, cut off or changed since it was written.
        """
        try:
            yield self._open(folder)
        except FileNotFoundError:
            raise ModelError(f"There is no {self.noun} in its folder, or it is not whole.", self.cure) from None
        except _ChangedError:
            raise ModelError(f"The {self.noun} was changed or cut off.", self.cure) from None
        except (OSError, ValueError, LookupError, TypeError, AttributeError, SafetensorError) as error:
            raise ModelError(f"The {self.noun} cannot be read ({type(error).__name__}).", self.cure) from None

    def _described(self, folder: Path) -> Path:
        return folder / f"{self.name}.json"

    def _open(self, folder: Path) -> Artifact:
        description = json.loads(self._described(folder).read_bytes())
        if description["format"] == 1:
            description = self._upgraded(description)
        elif description["format"] != _FORMAT:
            raise ModelError(f"The {self.noun} was written by another version of the backend.", self.cure)
        elif description["sha256"] != description_digest(description):
            raise _ChangedError
        files = description.pop("files")
        del description["format"], description["sha256"]
        return Artifact(description, folder, files)

    def _upgraded(self, old: dict[str, Any]) -> dict[str, Any]:
        """Return in the present layout what an earlier version wrote."""
        seal = old.pop("description_sha256", None)
        digest = description_digest(old)
        if "files" in old:  # a fine-tuned network
            files, vouched = old["files"], old["sha256"] == digest
        elif "tensors" in old:  # a classifier
            files = {"tensors": {"name": old.pop("tensors"), "sha256": old.pop("tensors_sha256")}}
            vouched = old["sha256"] == digest
        elif "weights_sha256" in old:  # an adapted network; the first ones did not vouch for themselves
            digests = {"weights": old.pop("weights_sha256"), "model": old.pop("model_sha256")}
            files = {part: {"name": self.file_name(part, each), "sha256": each} for part, each in digests.items()}
            vouched = old.get("sha256") in {None, digest}
        else:  # an exported backbone, as before
            files = {"model": {"name": f"{self.name}.onnx", "sha256": old["sha256"]}}
            vouched = seal in {None, digest}
        if not vouched:
            raise _ChangedError
        return {**old, "files": files, "sha256": digest}

    def _remove_others(self, folder: Path, names: set[str]) -> None:
        """Remove the files of the model that was there before."""
        for old in folder.glob(f"{self.name}*"):
            is_part = old.suffix in {".safetensors", ".onnx"} or _JSON_PART.fullmatch(old.name.removeprefix(self.name))
            if is_part and old.name not in names:
                old.unlink(missing_ok=True)


def sha256(content: bytes) -> str:
    """Return the sha256 of bytes as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's content as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
