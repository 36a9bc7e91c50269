"""Small records of a project in JSON, that are either there whole or made anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

from clinical_backend.errors import ModelError
from clinical_backend.logs import SeldomLogger
from clinical_backend.system.files import description_digest, write_aside
from clinical_backend.system.permissions import make_folder

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Record", "load_record", "save_record"]

seldom = SeldomLogger(__name__)


class Record(BaseModel):
    """What a record has besides what it says.

    Attributes
    ----------
    sha256
        Of all else, in the file; ``None`` in one of an earlier version.
    """

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    sha256: str | None = None


_Kept = TypeVar("_Kept", bound=Record)


def load_record(path: Path, kind: type[_Kept]) -> _Kept | None:
    """Return the record in a file; ``None`` where there is none, or it was changed: it is made anew."""
    try:
        record = kind.model_validate_json(path.read_bytes())
        unchanged = record.sha256 in {None, _digest(record)}
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # no JSON, not of this kind, or a number that JSON has no form for
        seldom.warning("A record in %s cannot be read (%s); it is made anew.", path.parent, type(error).__name__)
        return None
    if not unchanged:
        seldom.warning("The record in %s was changed on disk; it is made anew.", path.parent)
        return None
    return record


def save_record(path: Path, record: Record) -> None:
    """Write a record in one step.

    Raises
    ------
    ModelError
        When the folder cannot be written.
    """
    try:
        make_folder(path.parent)
        digest = _digest(record)
        write_aside(path, record.model_copy(update={"sha256": digest}).model_dump_json(indent=2).encode())
    except OSError as error:
        raise ModelError(
            f"The record {path} cannot be kept ({error.strerror}).",
            "Free some space, or make MODEL_DIR writable.",
        ) from None


def _digest(record: Record) -> str:
    return description_digest(record.model_dump(mode="json"))
