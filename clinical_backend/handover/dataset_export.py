"""A project's labels, written as a data set with its datasheet."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from clinical_backend.archive.pseudonyms import Pseudonyms
from clinical_backend.errors import InvalidArgumentError, StorageError
from clinical_backend.handover.coco import Coco
from clinical_backend.handover.copied_images import CopiedImages
from clinical_backend.handover.datasheet import Datasheet
from clinical_backend.handover.delivery import delivered, require_place
from clinical_backend.handover.image_folder import ImageFolder
from clinical_backend.handover.records import collect
from clinical_backend.handover.tables import Table
from clinical_backend.handover.task_json import TaskJson
from clinical_backend.rounds.sync import synchronise
from clinical_backend.storage.trail import TrailAction
from clinical_backend.strategy.splits import leaks
from clinical_backend.workspace.lock import leased_project

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from clinical_backend.handover.delivery import Delivery
    from clinical_backend.handover.export_options import ExportOptions, Form
    from clinical_backend.handover.records import Collection, Record
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["Exported", "export_dataset"]

_FORMS: dict[Form, Callable[[Delivery, Collection], Table | Coco | ImageFolder | TaskJson]] = {
    "csv": Table,
    "coco": Coco,
    "imagefolder": ImageFolder,
    "label-studio": TaskJson,
}
_WAIT_SECONDS = 5.0
"""For another process that works at the project: a look at Label Studio may just end, a round takes minutes."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes
    ----------
    records, files
        Labelled tasks, and files.
    splits
        How many tasks each split has.
    ties
        Pairs of tasks that no split parts.
    missing_images
        Images that could not be copied.
    missing_draws
        Labels of random draws that are missing until there are weights; 0 where there are.
    gone
        Labels whose tasks Label Studio does not give any more.
    """

    records: int
    files: int
    splits: dict[str, int]
    ties: int
    missing_images: int
    missing_draws: int
    gone: int


def export_dataset(
    project: ProjectWorkspace,
    options: ExportOptions,
    out: Path,
    *,
    command: str,
    show: Callable[[int, int | None], None] = lambda _done, _total: None,
) -> Exported:
    """Read a project back from Label Studio, and write its labels to a folder, all of it or nothing.

    Parameters
    ----------
    project
        A connected one.
    options
        What is handed over, and how.
    out
        The folder, as :func:`require_place` has it.
    command
        What was asked for, as the datasheet repeats it.
    show
        Is told how many tasks are compared with all others, and then how many are written, of how many.

    Raises
    ------
    InvalidArgumentError
        When the options contradict each other, the folder cannot be made, there is no label, or no task has one of the
        fields.
    ProjectBusyError
        When a round runs.
    StorageError
        When the folder cannot be written.
    """
    _check(options)
    require_place(out)
    with leased_project(project, seconds=_WAIT_SECONDS):
        scheme = synchronise(project).scheme
    collection = collect(project, scheme, options, show)
    if not collection.ledger:
        raise InvalidArgumentError("--project", "the project has no label yet.", "Annotate some tasks first.")
    pseudonyms = Pseudonyms(project.workspace.settings.model_dir)
    datasheet = Datasheet(collection)
    written: dict[int, str] = {}
    given = 0
    absent = set(options.fields)
    with delivered(out) as delivery:
        writer = _FORMS[options.form](delivery, collection)
        for record, images in _with_images(project, options, delivery, collection.records(pseudonyms, show), datasheet):
            given += 1
            if writer.add(record, images):
                datasheet.count(record)
                written[record.task] = record.split
            absent -= {name for name, value in record.fields.items() if value is not None}
        writer.finish()
        if absent:
            fields = ", ".join(sorted(absent))
            raise InvalidArgumentError(
                "--field", f"no task has a value in {fields}.", "Name fields of the tasks' data."
            )
        _require_no_leak(written, collection.ties.values())
        with delivery.text("datasheet.md") as file:
            file.write(datasheet.text(command))
        # Before the folder appears, so that none is handed over of which the trail does not tell.
        project.stores.trail.append(
            TrailAction.LABELS_EXPORTED,
            project.id,
            options=asdict(options),
            labels=datasheet.records,
            sha256sums=delivery.digest(),
        )
    return Exported(
        datasheet.records,
        delivery.files,
        dict(Counter(written.values())),
        sum(map(len, collection.ties.values())),
        datasheet.missing_images,
        collection.draws.sample.missing,
        len(collection.ledger) - given,
    )


def _check(options: ExportOptions) -> None:
    if options.form == "imagefolder" and options.images != "copy":
        raise InvalidArgumentError("--images", "a folder of images needs them.", "Give --images copy.")
    if options.form == "label-studio" and options.images == "none":
        raise InvalidArgumentError(
            "--images", "Label Studio's tasks need an address.", "Give --images reference, or --images copy."
        )


def _with_images(
    project: ProjectWorkspace,
    options: ExportOptions,
    delivery: Delivery,
    records: Iterable[Record],
    datasheet: Datasheet,
) -> Iterator[tuple[Record, list[str]]]:
    """Yield records with the addresses of their images, or the names of the copies; empty where there is none."""
    if options.images != "copy":
        for record in records:
            shown = [image.uri for image in record.images if options.images == "reference"]
            yield record, ["" if uri.startswith("data:") else uri for uri in shown]  # such an address is the image
        return
    copies = CopiedImages(project.workspace.source, delivery, by_split=options.form == "imagefolder")
    with closing(copies):
        yield from copies.copy(records)
    datasheet.missing_images = copies.missing


def _require_no_leak(written: dict[int, str], ties: Iterable[NDArray[np.int64]]) -> None:
    """Look at the splits as they were written."""
    found = [pair for pairs in ties for pair in leaks(written, pairs)]
    if found:
        raise StorageError(
            f"{len(found)} pairs of tied tasks stand in different splits. Nothing was exported.",
            "Report this as a fault of clinical-backend.",
        )
