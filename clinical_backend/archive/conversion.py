"""Tasks that point to DICOM or TIFF files, which no browser draws, are made to show pictures of them."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

from clinical_backend.archive.found import PassedOver
from clinical_backend.archive.header import header_of
from clinical_backend.archive.plan import facts_of
from clinical_backend.errors import ImageError, LabelingConfigError
from clinical_backend.images.decoders.decoding import is_dicom
from clinical_backend.images.decoders.tiff import SIGNATURES
from clinical_backend.labelstudio.labeling.fields import lookup, top_field
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


@dataclass(frozen=True, slots=True)
class _Change:
    task: Task
    addresses: Mapping[str, bytes]
    header: Header | None
    refused: Sequence[PassedOver]


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
        secondary: bool = False,
        workers: int = 4,
    ) -> None:
        self._client = client
        self._images = images
        self._place = place
        self._maker = maker
        self._pseudonyms = pseudonyms
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
            passed_over += change.refused
            if change.addresses:
                self._change(change, views)
                done.tasks += 1
                done.pictures += len(change.addresses)
            progress(number, len(tasks))
        return done

    def _pictures(self, task: Task, views: Sequence[View]) -> _Change:
        made: dict[str, bytes] = {}
        refused: list[PassedOver] = []
        header = None
        for address in _undrawn(views, task.data):
            try:
                content = self._images.fetch(address, task.id)
                if is_dicom(content):
                    said = header_of(BytesIO(content))
                    if said is not None and (reason := said.reason_against(secondary=self._secondary)):
                        refused.append(PassedOver(f"task {task.id}", f"It is left out: {reason}."))
                        continue
                    header = header or said
                elif not content.startswith(SIGNATURES):
                    continue
                made[address] = self._maker.make(content)
            except ImageError as error:
                refused.append(PassedOver(f"task {task.id}", str(error)))
        return _Change(task, made, header, refused)

    def _change(self, change: _Change, views: Sequence[View]) -> None:
        names = {address: f"{self._pseudonyms.of('address', address)}.png" for address in change.addresses}
        kept = self._place.put({names[address]: content for address, content in change.addresses.items()})
        new = {address: kept[name] for address, name in names.items()}
        data = dict(change.task.data)
        for name in {view.value.fields[0] for view in views}:
            data |= _replaced(data, name, new)
        before = data.get(ORIGINAL, [])
        data[ORIGINAL] = [*(before if isinstance(before, list) else [before]), *change.addresses]
        if change.header is not None:
            for name, value in facts_of(change.header, self._pseudonyms).items():
                data.setdefault(name, value)
        self._client.update_task(change.task.id, data=data)


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


def _replaced(data: Mapping[str, Any], path: str, new: Mapping[str, str]) -> dict[str, Any]:
    """Return the top field of a path, with new addresses in place of old ones below it."""
    top = path if path in data else top_field(path)
    if lookup(data, path) is None or top not in data:
        return {}
    return {top: _with(data[top], new)}


def _with(value: Any, new: Mapping[str, str]) -> Any:  # noqa: ANN401 - a task's data holds anything
    if isinstance(value, str):
        return new.get(value.strip(), value)
    if isinstance(value, list):
        return [_with(one, new) for one in value]
    if isinstance(value, dict):
        return {name: _with(one, new) for name, one in value.items()}
    return value
