"""The fine-tuned network of a project: what is known of it, and the one that is in use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from clinical_backend.workspace.record_files import Record, load_record, save_record

if TYPE_CHECKING:
    from pathlib import Path

    from clinical_backend.workspace.features import ImageFeatures

__all__ = ["Finetuned", "FinetuningRecord", "read_record", "write_record"]

_NAME = "record.json"


class FinetuningRecord(Record):
    """What the last fine-tuning of a project came to.

    Attributes
    ----------
    message
        For people.
    backbone
        Key of the backbone that it began with.
    labels
        How many labelled images there were.
    network
        Folder of the network that is in use, within the project's; ``None`` where the head is better.
    learnt, held_out
        The images that the network in use learnt from and was judged by, by the sha256 of their content.
    """

    message: str
    backbone: str = ""
    labels: int = 0
    network: str | None = None
    learnt: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Finetuned:
    """A fine-tuned network in use.

    Attributes
    ----------
    name
        Its folder.
    classes
        Those that it knows, in the order of its outputs.
    probabilities
        What it makes of images, in the order of the classes.
    """

    name: str
    classes: tuple[str, ...]
    probabilities: ImageFeatures


def read_record(folder: Path) -> FinetuningRecord | None:
    """Return the record of a project's folder; ``None`` where there is none, or it was changed: it is made anew."""
    return load_record(folder / _NAME, FinetuningRecord)


def write_record(folder: Path, record: FinetuningRecord) -> None:
    """Write a record in one step; the network that it names is in use from then on.

    Raises
    ------
    ModelError
        When the folder cannot be written.
    """
    save_record(folder / _NAME, record)
