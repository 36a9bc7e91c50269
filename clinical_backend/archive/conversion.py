"""Tasks that point to DICOM or TIFF files, which no browser draws, are made to show pictures of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus
from io import BytesIO
from typing import TYPE_CHECKING, Any

from clinical_backend.archive.found import PassedOver
from clinical_backend.archive.header import header_of
from clinical_backend.archive.plan import TOTAL, facts_of
from clinical_backend.errors import ImageError, LabelingConfigError, LabelStudioRefusedError
from clinical_backend.images.decoders.decoding import is_dicom
from clinical_backend.images.decoders.tiff import SIGNATURES
from clinical_backend.labelstudio.labeling.fields import lookup, top_field
from clinical_backend.study import IMAGES_PER_TASK, evenly_spaced
from clinical_backend.system.parallel import map_in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from clinical_backend.archive.header import Header
    from clinical_backend.archive.places import Place
    from clinical_backend.archive.pseudonyms import Pseudonyms
    from clinical_backend.archive.rendering import PictureMaker
    from clinical_backend.images.sources import ImageSource
    from clinical_backend.labelstudio.client import LabelStudioClient
    from clinical_backend.labelstudio.labeling.views import View
    from clinical_backend.labelstudio.resources import Task

__all__ = ["ORIGINAL", "Converted", "Converter", "undrawn_tasks"]

ORIGINAL = "original"
"""Field of a task that keeps the addresses that it had."""

_UNKNOWN = "it is damaged, or does not say which object it is, so that what it shows is not known"
_DRAWN = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".svg")


@dataclass(slots=True)
class Converted:
    """What a conversion did.

    Attributes
    ----------
    tasks, pictures
        How many it changed and made.
    """

    tasks: int = 0
    pictures: int = 0


@dataclass(slots=True)
class _Change:
    """What is to be changed of a task.

    Attributes
    ----------
    pictures
        PNG files by the address that they stand for, in order: several where a file has several images.
    hidden
        How many images of these files are not shown.
    header
        What the first DICOM file says.
    refused
        Why the others stay.
    """

    task: Task
    pictures: dict[str, list[bytes]] = field(default_factory=dict)
    hidden: int = 0
    header: Header | None = None
    refused: list[PassedOver] = field(default_factory=list)

    def refuse(self, reason: str) -> None:
        """Note why something stays as it is."""
        self.refused.append(PassedOver(f"task {self.task.id}", reason))


class Converter:
    """Makes pictures of the files that tasks show, and changes the tasks' addresses; answers stay as they are.

    Parameters
    ----------
    client
        Reads and changes the tasks.
    images
        Fetches the files.
    place, maker
        Keeps and makes the pictures.
    pseudonyms
        Makes the names of the pictures, and what stands for patients.
    limit
        Most pictures of a file with several frames or pages, where a task shows it as a list.
    secondary
        Whether secondary captures are converted.
    workers
        How many tasks are worked at at a time.
    """

    def __init__(
        self,
        client: LabelStudioClient,
        images: ImageSource,
        place: Place,
        maker: PictureMaker,
        pseudonyms: Pseudonyms,
        *,
        limit: int = IMAGES_PER_TASK,
        secondary: bool = False,
        workers: int = 4,
    ) -> None:
        self._client = client
        self._images = images
        self._place = place
        self._maker = maker
        self._pseudonyms = pseudonyms
        self._limit = limit
        self._secondary = secondary
        self._workers = workers

    def run(
        self,
        project_id: int,
        views: Sequence[View],
        progress: Callable[[int, int], None],
        passed_over: list[PassedOver],
    ) -> Converted:
        """Change all tasks of a project that show a DICOM or TIFF file.

        Parameters
        ----------
        views
            The ``Image`` tags.
        progress
            Is told how many of how many tasks were looked at.
        passed_over
            Gets what cannot be changed, as it turns out, so that it is known of a conversion that is broken off.

        Raises
        ------
        LabelingConfigError
            As :func:`undrawn_tasks`.
        """
        done = Converted()
        tasks = undrawn_tasks(self._client, project_id, views)
        changes = map_in_order(
            lambda task: self._pictures(task, views), tasks, workers=self._workers, look_ahead=2 * self._workers
        )
        for number, change in enumerate(changes, 1):
            if change.pictures and self._change(change, views):
                done.tasks += 1
                done.pictures += sum(map(len, change.pictures.values()))
            passed_over += change.refused
            progress(number, len(tasks))
        return done

    def _pictures(self, task: Task, views: Sequence[View]) -> _Change:
        change = _Change(task)
        alone = _alone_in_list(views, task.data)
        for address in _undrawn(views, task.data):
            try:
                content = self._images.fetch(address, task.id)
                if is_dicom(content):
                    said = header_of(BytesIO(content))
                    if reason := _UNKNOWN if said is None else said.reason_against(secondary=self._secondary):
                        change.refuse(f"It is left out: {reason}.")
                        continue
                    change.header = change.header or said
                elif not content.startswith(SIGNATURES):
                    continue
                count = self._maker.count(content)
                several = address == alone and min(count, self._limit) > 1
                frames = evenly_spaced(count, self._limit) if several else [None]
                change.pictures[address] = [self._maker.make(content, frame) for frame in frames]
                change.hidden += count - len(frames)
            except ImageError as error:
                change.refuse(str(error))
        return change

    def _change(self, change: _Change, views: Sequence[View]) -> bool:
        """Keep the pictures and change a task's data; tell whether the task is still there."""
        names = {
            address: [self._name(address, place) for place in range(len(pictures))]
            for address, pictures in change.pictures.items()
        }
        contents = (content for pictures in change.pictures.values() for content in pictures)
        kept = self._place.put(dict(zip((name for of in names.values() for name in of), contents, strict=True)))
        new = {address: [kept[name] for name in of] for address, of in names.items()}
        data = dict(change.task.data)
        for name in {view.value.fields[0] for view in views}:
            data |= _replaced(data, name, new)
        before = data.get(ORIGINAL, [])
        data[ORIGINAL] = [*(before if isinstance(before, list) else [before]), *change.pictures]
        if change.header is not None:
            for name, value in facts_of(change.header, self._pseudonyms).items():
                data.setdefault(name, value)
        if change.hidden:
            shown = sum(len(view.addresses(data)) for view in views)
            data.setdefault(TOTAL, shown + change.hidden)
        try:
            self._client.update_task(change.task.id, data=data)
        except LabelStudioRefusedError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            change.refuse("It is not there any more.")
            return False
        return True

    def _name(self, address: str, place: int) -> str:
        """Return the name of a picture; that of a file's only one is of its address alone."""
        return f"{self._pseudonyms.of('address', f'{address} {place}' if place else address)}.png"


def undrawn_tasks(client: LabelStudioClient, project_id: int, views: Sequence[View]) -> list[Task]:
    """Return the tasks of a project that a browser may not draw, by the endings of their addresses.

    Raises
    ------
    LabelingConfigError
        When the addresses stand in no field that can be changed.
    """
    for view in views:
        if not view.value.is_field or top_field(view.value.fields[0]) == ORIGINAL:
            raise LabelingConfigError(
                f"The Image takes its address from {view.value.text!r}, which no conversion can change.",
                'Use value="$image", or valueList="$images" for a list, with tasks that have this field.',
            )
    return [task for task in client.tasks(project_id) if _undrawn(views, task.data)]


def _undrawn(views: Sequence[View], data: Mapping[str, Any]) -> list[str]:
    """Return the addresses of a task that may not be drawn by a browser, by their endings."""
    every = [address for view in views for address in view.addresses(data) if address]
    return [
        address
        for address in dict.fromkeys(every)
        if not address.startswith("data:") and not address.partition("?fileuri=")[0].lower().endswith(_DRAWN)
    ]


def _alone_in_list(views: Sequence[View], data: Mapping[str, Any]) -> str | None:
    """Return the address that is the only one of a task, if it stands in a list.

    Answers about single images name these by their places, which more pictures of one among several would shift.
    """
    if len(views) != 1 or not views[0].is_list:
        return None
    addresses = views[0].addresses(data)
    return addresses[0] if len(addresses) == 1 and isinstance(lookup(data, views[0].value.fields[0]), list) else None


def _replaced(data: Mapping[str, Any], path: str, new: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return the top field of a path, with new addresses in place of old ones below it."""
    top = path if path in data else top_field(path)
    if lookup(data, path) is None or top not in data:
        return {}
    return {top: _with(data[top], new)}


def _with(value: Any, new: Mapping[str, Sequence[str]]) -> Any:  # noqa: ANN401 - a task's data holds anything
    if isinstance(value, str):
        return new[value.strip()][0] if value.strip() in new else value
    if isinstance(value, list):
        return [changed for one in value for changed in _in_list(one, new)]
    if isinstance(value, dict):
        return {name: _with(one, new) for name, one in value.items()}
    return value


def _in_list(value: Any, new: Mapping[str, Sequence[str]]) -> Sequence[Any]:  # noqa: ANN401
    """Return what stands in a list for one of its items."""
    return new[value.strip()] if isinstance(value, str) and value.strip() in new else [_with(value, new)]
