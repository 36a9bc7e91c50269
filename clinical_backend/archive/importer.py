"""An import: pictures are made and put where readers see them, then tasks that show them."""

from __future__ import annotations

import logging
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

from clinical_backend.archive.found import Found, PassedOver
from clinical_backend.archive.header import ADMISSION, header_of
from clinical_backend.archive.plan import IDENTITY, TOTAL
from clinical_backend.archive.pseudonyms import is_pseudonym
from clinical_backend.errors import ArchiveError, ImageError, LabelStudioUnavailableError
from clinical_backend.labelstudio.project_import import BYTES_PER_UPLOAD, FILES_PER_UPLOAD
from clinical_backend.system.parallel import map_in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from clinical_backend.archive.found import Source
    from clinical_backend.archive.places import Place
    from clinical_backend.archive.plan import Picture, PlannedTask
    from clinical_backend.archive.rendering import PictureMaker
    from clinical_backend.labelstudio.client import LabelStudioClient
    from clinical_backend.labelstudio.project_import import ProjectImport

__all__ = ["Imported", "Importer", "count_reasons", "imported_tasks", "once_each"]

logger = logging.getLogger(__name__)

_AHEAD = 2
"""Tasks in hand for each thread: while one is stored, the next one is made."""


@dataclass(slots=True)
class Imported:
    """What an import did.

    Attributes
    ----------
    tasks, pictures
        How many it made.
    there
        How many tasks were there already.
    """

    tasks: int = 0
    pictures: int = 0
    there: int = 0


@dataclass(frozen=True, slots=True)
class _Made:
    task: PlannedTask
    names: Sequence[str]
    pictures: Mapping[str, bytes]
    refused: Sequence[PassedOver]


class Importer:
    """Makes tasks of what a source holds.

    Parameters
    ----------
    source
        Holds the objects.
    place
        Keeps their pictures.
    maker
        Makes the pictures.
    project
        Gets the tasks.
    secondary
        Whether secondary captures are imported.
    workers
        How many objects are read and decoded at a time.
    """

    def __init__(
        self,
        source: Source,
        place: Place,
        maker: PictureMaker,
        project: ProjectImport,
        *,
        secondary: bool = False,
        workers: int = 4,
    ) -> None:
        self._source = source
        self._place = place
        self._maker = maker
        self._project = project
        self._secondary = secondary
        self._workers = workers

    def run(
        self,
        planned: Sequence[PlannedTask],
        known: Mapping[str, Sequence[int]],
        address: Callable[[Sequence[str]], dict[str, Any]],
        progress: Callable[[int], None],
        passed_over: list[PassedOver],
    ) -> Imported:
        """Make the tasks that are not there yet.

        Parameters
        ----------
        planned
            All tasks that the source gives.
        known
            Ids of the tasks that are there, by their identity, from :func:`imported_tasks`.
        address
            Makes of the addresses of a task's pictures the field, or the fields, that show them.
        progress
            Is told how many of the planned tasks are done, from time to time.
        passed_over
            Gets what is not imported, as it turns out, so that it is known of an import that is broken off.

        Raises
        ------
        ArchiveError
            When the pictures cannot be kept.
        LabelStudioUnavailableError
            When Label Studio does not answer any more; what was imported stays.
        """
        with _gone_on_with():
            done = Imported()
            wanted = [task for task in planned if task.identity not in known]
            done.there = len(planned) - len(wanted)
            progress(done.there)
            kept = self._place.known() if wanted else {}
            made = map_in_order(
                lambda task: self._make(task, kept), wanted, workers=self._workers, look_ahead=_AHEAD * self._workers
            )
            # One batch is stored while the next one is made: both take about as long.
            with ThreadPoolExecutor(1) as storing:
                under_way: Future[None] | None = None
                for batch in _batches(_noted(made, passed_over)):
                    if under_way is not None:
                        under_way.result()
                        progress(done.there + done.tasks)
                    under_way = storing.submit(self._store, batch, kept, address, done)
                if under_way is not None:
                    under_way.result()
            progress(len(planned))
            return done

    def _make(self, task: PlannedTask, kept: Mapping[str, str]) -> _Made:
        """Make the pictures of a task; those that cannot be made are left out of it."""
        names: list[str] = []
        pictures: dict[str, bytes] = {}
        refused: list[PassedOver] = []
        last: tuple[Found, bytes | ArchiveError] | None = None
        for picture in task.pictures:
            name = picture.name
            if name in kept:
                names.append(name)
                continue
            if last is None or last[0] is not picture.found:
                last = (picture.found, self._read(picture.found))
            try:
                pictures[name] = self._picture(picture, last[1])
                names.append(name)
            except (ArchiveError, ImageError) as error:
                refused.append(PassedOver(picture.found.name, str(error)))
        return _Made(task, names, pictures, refused)

    def _read(self, found: Found) -> bytes | ArchiveError:
        """Read an object, and look at what it says itself: an archive may know less of it."""
        try:
            content = self._source.read(found)
        except ArchiveError as error:
            return error
        header = header_of(BytesIO(content), ADMISSION)
        if header is None:
            return ArchiveError("It is no DICOM file.", "Import it anew into the archive.")
        if header.instance != found.header.instance:
            return ArchiveError("The archive gives another object than was asked for.", "See what its log says.")
        if reason := header.reason_against(secondary=self._secondary):
            return ArchiveError(f"It is left out: {reason}.", "")
        return content

    def _picture(self, picture: Picture, content: bytes | ArchiveError) -> bytes:
        if isinstance(content, ArchiveError):
            raise content
        return self._maker.make(content, picture.frame if picture.found.header.frames > 1 else None)

    def _store(
        self,
        batch: Sequence[_Made],
        kept: Mapping[str, str],
        address: Callable[[Sequence[str]], dict[str, Any]],
        done: Imported,
    ) -> None:
        new = {name: content for made in batch for name, content in made.pictures.items()}
        addresses = {**kept, **(self._place.put(new) if new else {})}
        tasks = []
        for made in batch:
            data = made.task.data | {IDENTITY: made.task.identity} | address([addresses[name] for name in made.names])
            if made.task.total > len(made.names):
                data[TOTAL] = made.task.total
            tasks.append({"data": data})
        self._project.add_tasks(tasks)
        done.tasks += len(tasks)
        done.pictures += sum(len(made.names) for made in batch)
        logger.debug("Imported %d tasks with %d pictures", done.tasks, done.pictures)


@contextmanager
def _gone_on_with() -> Iterator[None]:
    """Say of a Label Studio that went away how an import goes on."""
    try:
        yield
    except LabelStudioUnavailableError as error:
        raise LabelStudioUnavailableError(
            error.problem, f"{error.cure} Then run the import again: what is there stays, and it goes on."
        ) from error


def _noted(made: Iterable[_Made], passed_over: list[PassedOver]) -> Iterator[_Made]:
    """Yield the tasks of which there is a picture, and note what was refused of all."""
    for one in made:
        passed_over += one.refused
        if one.names:
            yield one


def _batches(made: Iterable[_Made]) -> Iterator[list[_Made]]:
    """Yield tasks in batches of a few requests each."""
    batch: list[_Made] = []
    pictures = size = 0
    for one in made:
        batch.append(one)
        pictures += len(one.pictures)
        size += sum(map(len, one.pictures.values()))
        if max(len(batch), pictures) >= FILES_PER_UPLOAD or size >= BYTES_PER_UPLOAD:
            yield batch
            batch = []
            pictures = size = 0
    if batch:
        yield batch


def imported_tasks(client: LabelStudioClient, project_id: int) -> dict[str, list[int]]:
    """Return the ids of the tasks that imports made, by identity, in ascending order.

    A task of the project's own, whose field of that name says something else, is none of them.
    """
    found: dict[str, list[int]] = {}
    for task in client.tasks(project_id):
        if is_pseudonym(identity := task.data.get(IDENTITY)):
            found.setdefault(identity, []).append(task.id)
    return found


def once_each(found: Iterable[Found | PassedOver], secondary: bool, passed_over: list[PassedOver]) -> list[Found]:
    """Return the objects to import, each once.

    Parameters
    ----------
    found
        What a source yields.
    secondary
        Whether secondary captures are imported.
    passed_over
        Gets what is not imported, as it turns out.
    """
    objects: dict[str, Found] = {}
    for one in found:
        if isinstance(one, PassedOver):
            passed_over.append(one)
        elif reason := one.header.reason_against(secondary=secondary):
            passed_over.append(PassedOver(one.name, reason))
        elif not one.header.instance:
            passed_over.append(PassedOver(one.name, "it lacks its own identifier (SOP Instance UID)"))
        elif one.header.instance in objects:
            passed_over.append(PassedOver(one.name, "another file has the same identifier (SOP Instance UID)"))
        else:
            objects[one.header.instance] = one
    return list(objects.values())


def count_reasons(passed_over: Iterable[PassedOver]) -> list[tuple[str, int]]:
    """Return why things were passed over, and how many for each reason, the most frequent first."""
    return Counter(one.reason for one in passed_over).most_common()
