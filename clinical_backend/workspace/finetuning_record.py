"""The fine-tuned network of a project: what is known of it, and the one that is in use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from clinical_backend.errors import ModelError
from clinical_backend.logs import SeldomLogger
from clinical_backend.system.files import description_digest, write_aside
from clinical_backend.system.permissions import make_folder

if TYPE_CHECKING:
    from pathlib import Path

    from clinical_backend.workspace.features import ImageFeatures

__all__ = ["Finetuned", "FinetuningRecord", "read_record", "write_record"]

seldom = SeldomLogger(__name__)

_NAME = "record.json"


class FinetuningRecord(BaseModel):
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
    sha256
        Of all else, in the file; ``None`` in one of an earlier version.
    """

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    message: str
    backbone: str = ""
    labels: int = 0
    network: str | None = None
    learnt: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    sha256: str | None = None


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
    try:
        record = FinetuningRecord.model_validate_json((folder / _NAME).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        seldom.warning("A record in %s cannot be read (%s); it is made anew.", folder, type(error).__name__)
        return None
    if record.sha256 not in {None, description_digest(record.model_dump(mode="json"))}:
        seldom.warning("The record in %s was changed on disk; it is made anew.", folder)
        return None
    return record


def write_record(folder: Path, record: FinetuningRecord) -> None:
    """Write a record in one step; the network that it names is in use from then on.

    Raises
    ------
    ModelError
        When the folder cannot be written.
    """
    try:
        make_folder(folder)
        digest = description_digest(record.model_dump(mode="json"))
        write_aside(folder / _NAME, record.model_copy(update={"sha256": digest}).model_dump_json(indent=2).encode())
    except OSError as error:
        raise ModelError(
            f"What a fine-tuning came to cannot be kept ({error.strerror}).",
            "Free some space, or make MODEL_DIR writable.",
        ) from None
