"""The map of a project on disk: where each task stands in the plane, and when somebody last looked at it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import safetensors.numpy

from clinical_backend.errors import ModelError
from clinical_backend.learner.artifact import ArtifactKind
from clinical_backend.learner.projection import Projection
from clinical_backend.logs import SeldomLogger
from clinical_backend.system.permissions import make_file, make_folder
from clinical_backend.workspace.record_files import Record, load_record, save_record

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from clinical_backend.learner.artifact import Artifact

__all__ = [
    "MapNote",
    "ProjectMap",
    "ask_for_map",
    "asked_since",
    "drawn_version",
    "load_map",
    "note_of",
    "save_map",
    "save_note",
]

seldom = SeldomLogger(__name__)

_KIND = ArtifactKind("map", "map", "Open the page again: the map is drawn anew in the background.")
_ASKED, _NOTE = "asked", "note.json"
_PROJECTION = ("centre", "components", "landmarks", "places")
_OWN = ("tasks", "points", "scores", "middles")
_Part = TypeVar("_Part")
_TOUCH_SECONDS = 600.0
"""Between two notes that somebody looks: a page that is left open asks again and again."""


class MapNote(Record):
    """Where the drawing of a map stands, for people.

    Attributes
    ----------
    message
        A sentence; empty while there is nothing to say.
    failed
        Whether it says why no map could be drawn.
    """

    message: str = ""
    failed: bool = False


@dataclass(frozen=True, slots=True)
class ProjectMap:
    """Tasks in the plane.

    Attributes
    ----------
    key
        Identifies the features that were laid out.
    version
        The model whose scores stand beside them; empty before the first.
    laid_out
        How many tasks there were when the landmarks were chosen.
    drawn_at
        When, in seconds since the epoch.
    projection
        The layout.
    tasks
        Ids, ascending, shape (n,), int64.
    points
        Their places, shape (n, 2), float32.
    scores
        How likely the model holds what is looked for, 0 to 1, shape (n,), float32; NaN where it says nothing.
    middles
        Of the neighbourhoods, shape (k, 2), float32.
    """

    key: str
    version: str
    laid_out: int
    drawn_at: float
    projection: Projection
    tasks: NDArray[np.int64]
    points: NDArray[np.float32]
    scores: NDArray[np.float32]
    middles: NDArray[np.float32]


def load_map(folder: Path) -> ProjectMap | None:
    """Return what was drawn; ``None`` where there is nothing, or it was changed on disk: it is drawn anew."""
    return _read(folder, _map_of)


def drawn_version(folder: Path) -> str | None:
    """Return the model whose scores stand on the map; ``None`` where there is no map, or it was changed on disk."""
    return _read(folder, lambda artifact: str(artifact.description["version"]))


def _read(folder: Path, part: Callable[[Artifact], _Part]) -> _Part | None:
    """Return a part of what was drawn; what was changed on disk is removed, so that it is drawn anew."""
    if not _KIND.is_in(folder):
        return None
    try:
        with _KIND.opened(folder) as artifact:
            return part(artifact)
    except ModelError as error:
        seldom.warning("The map in %s is drawn anew: %s", folder, error)
        _KIND.forget(folder)
        return None


def _map_of(artifact: Artifact) -> ProjectMap:
    tensors, said = safetensors.numpy.load(artifact.read("tensors")), artifact.description
    return ProjectMap(
        str(said["key"]),
        str(said["version"]),
        int(said["laid_out"]),
        float(said["drawn_at"]),
        Projection(*(tensors[f"projection.{name}"] for name in _PROJECTION)),
        **{name: tensors[name] for name in _OWN},
    )


def save_map(folder: Path, drawn: ProjectMap) -> None:
    """Write a map; one that is there already is replaced in one step.

    Raises
    ------
    ModelError
        When the folder cannot be written.
    """
    tensors = {f"projection.{name}": getattr(drawn.projection, name) for name in _PROJECTION}
    tensors |= {name: getattr(drawn, name) for name in _OWN}
    content = safetensors.numpy.save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()})
    said = {name: getattr(drawn, name) for name in ("key", "version", "laid_out", "drawn_at")}
    _KIND.save(folder, said, {"tensors": content})


def ask_for_map(folder: Path) -> None:
    """Note that somebody looks at the map: it is drawn, and kept up for a while.

    Raises
    ------
    ModelError
        When the folder cannot be written.
    """
    if (asked := asked_since(folder)) is not None and 0 <= asked < _TOUCH_SECONDS:
        return
    try:
        make_folder(folder)
        make_file(folder / _ASKED)
        os.utime(folder / _ASKED)
    except OSError as error:
        raise ModelError(
            f"The map cannot be drawn: {folder} cannot be written ({error.strerror}).",
            "Free some space, or make MODEL_DIR writable.",
        ) from None


def asked_since(folder: Path) -> float | None:
    """Return the seconds since somebody looked at the map; ``None`` where nobody ever did."""
    try:
        return time.time() - (folder / _ASKED).stat().st_mtime
    except OSError:
        return None


def note_of(folder: Path) -> MapNote:
    """Return where the drawing stands."""
    return load_record(folder / _NOTE, MapNote) or MapNote()


def save_note(folder: Path, note: MapNote) -> None:
    """Write down where the drawing stands.

    Raises
    ------
    ModelError
        When the folder cannot be written.
    """
    save_record(folder / _NOTE, note)
