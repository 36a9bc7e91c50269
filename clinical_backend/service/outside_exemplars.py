"""Exemplars from outside a project: what is taken for one, from files and from other projects of this backend."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from clinical_backend.errors import ImageError, InvalidArgumentError
from clinical_backend.images.sources import SIZE_LIMIT
from clinical_backend.learner.backbones.embedder import content_key
from clinical_backend.learner.backbones.preprocessing import to_fitting_square
from clinical_backend.multilabel import has_any
from clinical_backend.origins import Origin
from clinical_backend.storage.stores.outside_exemplars import MOST_EXEMPLARS, NewExemplar
from clinical_backend.text import amount, printable
from clinical_backend.workspace.controls import classes_of, read_as_set
from clinical_backend.workspace.outside_features import as_png

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from clinical_backend.images.sources import ImageSource
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = [
    "FILE_LIMIT",
    "LONGEST_NOTE",
    "Added",
    "add_images",
    "known_classes",
    "read_files",
    "read_tasks",
    "remove",
    "said",
]

FILE_LIMIT = SIZE_LIMIT
"""Most bytes of a file: as of a task's image."""
MOST_AT_ONCE = 16
"""Of a form on the page; more are given one form after the other, or by the command."""
LONGEST_NOTE = 500
"""Characters: where a case comes from, in a sentence or two."""
_LONGEST_NAME = 200

_ADDED = "exemplars from outside were added"
_REMOVED = "an exemplar from outside was removed"
"""Why a round is due, for people."""


@dataclass(slots=True)
class Added:
    """What came of images that were given.

    Attributes
    ----------
    kept
        Numbers of those that are kept now.
    known
        How many were there before, for the same finding.
    refused
        Why others are not taken, each with its name.
    """

    kept: list[int] = field(default_factory=list)
    known: int = 0
    refused: list[str] = field(default_factory=list)


def add_images(
    project: ProjectWorkspace,
    finding: str,
    images: Iterable[tuple[str, bytes | ImageError]],
    *,
    by: str,
    note: str = "",
    keeps_pixels: bool = True,
    deadline: float = math.inf,
) -> Added:
    """Take images for exemplars of a finding, and make a round due, which makes their features.

    They are decoded as images of tasks are, in processes that a hostile file can harm alone.

    Parameters
    ----------
    images
        Name and bytes of each, or why these cannot be had.
    by
        Who gives them.
    keeps_pixels
        Whether their pixels stay, as large as the backbone takes them. Otherwise they go as soon as the feature is
        made, which is lost with the backbone.
    deadline
        By ``time.monotonic``; images after it are refused.

    Raises
    ------
    InvalidArgumentError
        When the project has no such class, or would have too many exemplars from outside.
    """
    classes = known_classes(project)
    if finding not in classes:
        choice = f"Choose one of {', '.join(classes)}." if classes else "Connect the project first."
        raise InvalidArgumentError("finding", f"the project has no class {printable(finding, 80)!r}.", choice)
    workspace, added = project.workspace, Added()
    fresh: dict[str, NewExemplar] = {}
    for given, content in images:
        name = printable(given, _LONGEST_NAME)
        try:
            if isinstance(content, ImageError):
                raise content
            if time.monotonic() > deadline:
                raise ImageError("It was not looked at: the others took too long.", "Give it alone.")
            if len(content) > FILE_LIMIT:
                raise ImageError(f"It has more than {FILE_LIMIT // 2**20} MiB.", "Provide a smaller version of it.")
            pixels = to_fitting_square(workspace.decode(content), workspace.spec.sizes)
        except ImageError as error:
            added.refused.append(f"{name}: {error}")
            continue
        digest = content_key(content)
        fresh[digest] = NewExemplar(name, digest, as_png(pixels))
    if fresh:
        every = list(fresh.values())
        store = project.stores.outside_exemplars
        note = printable(note, LONGEST_NOTE)
        added.kept = store.add(project.id, finding, every, by=by, note=note, keeps_pixels=keeps_pixels)
        added.known = len(every) - len(added.kept)
    if added.kept:
        project.stores.projects.request_round(project.id, _ADDED, delay=0.0)
    return added


def remove(project: ProjectWorkspace, number: int) -> bool:
    """Delete an exemplar from outside, and make a round due; tell whether it was there."""
    there = project.stores.outside_exemplars.remove(project.id, number)
    if there:
        project.stores.projects.request_round(project.id, _REMOVED, delay=0.0)
    return there


def known_classes(project: ProjectWorkspace, *, ask: bool = False) -> tuple[str, ...]:
    """Return the classes of a project.

    Parameters
    ----------
    ask
        Whether to ask Label Studio where no round has read them yet, and to keep what it says.
    """
    if ask and (row := project.row) is not None and row.label_config is None:
        label_config = project.client.project(project.id).label_config
        read_as_set(label_config, project.settings)
        project.stores.projects.change(project.id, label_config=label_config)
    return classes_of(project)


def read_files(paths: Sequence[Path]) -> Iterator[tuple[str, bytes | ImageError]]:
    """Yield name and bytes of files, or why they cannot be read."""
    for path in paths:
        try:
            with path.open("rb") as file:
                yield path.name, file.read(FILE_LIMIT + 1)
        except OSError as error:
            yield path.name, ImageError(f"It cannot be read ({error.strerror}).", "Check its path.")


def read_tasks(
    other: ProjectWorkspace, finding: str, tasks: Sequence[int], source: ImageSource | None = None
) -> Iterator[tuple[str, bytes | ImageError]]:
    """Yield name and bytes of the images of another project's tasks, or why they cannot be had.

    Parameters
    ----------
    finding
        What is wanted where no tasks are named: those that were tagged there and are of this class; where there are
        none, those that are labelled so, the last ones first.
    tasks
        Which, whatever their class.
    source
        What fetches them; by default what does for rounds.

    Raises
    ------
    InvalidArgumentError
        When the other project is not served, or has no case of the finding.
    """
    if other.row is None:
        raise InvalidArgumentError("from-project", f"project {other.id} is not connected.", "Connect it first.")
    wanted = list(tasks) or _cases(other, finding)
    if not wanted:
        raise InvalidArgumentError(
            "from-project",
            f"project {other.id} has no case of {printable(finding, 80)!r}.",
            "Name its tasks with --task, whatever their class is called there.",
        )
    known = other.stores.images.all(other.id, wanted)
    reserved = other.stores.test_sets.ids(other.id)
    for task in wanted:
        image = known.get(task)
        name = f"task {task} of project {other.id}"
        if image is None:
            yield name, ImageError("There is no such task, or no round has listed it.", "Check its number.")
        elif task in reserved:
            yield (
                name,
                ImageError("It is of that project's test set, of which nothing is learnt.", "Take another case."),
            )
        elif image.is_study:
            yield name, ImageError("It has several images.", "Save the one that shows the finding, and give the file.")
        else:
            try:
                yield name, (source or other.workspace.source).fetch(image.uri, task)
            except ImageError as error:
                yield name, error


def _cases(other: ProjectWorkspace, finding: str) -> list[int]:
    cases = [
        one
        for one in other.stores.labels.all(other.id).values()
        if one.steer >= 0 and one.origin is not Origin.ACCEPTED and has_any(one.label or "", [finding])
    ]
    cases.sort(key=lambda one: -one.labelled_at)
    tagged = [one.task_id for one in cases if one.steer > 0]
    return (tagged or [one.task_id for one in cases])[:MOST_EXEMPLARS]


def said(added: Added) -> str:
    """Return what came of images, in a sentence or two."""
    count = len(added.kept)
    parts = [f"{amount(count, 'exemplar')} added; a round is due."] if count else []
    if added.known:
        parts.append(f"{amount(added.known, 'was', 'were')} there already.")
    if added.refused:
        parts.append(f"{len(added.refused)} not taken: {' '.join(added.refused)}")
    return " ".join(parts) or "No image was given."
