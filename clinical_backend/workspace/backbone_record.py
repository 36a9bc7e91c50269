"""Which backbone serves a project, and how it stands with another one that is to take its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from clinical_backend.workspace.record_files import Record, load_record, save_record

if TYPE_CHECKING:
    from pathlib import Path

    from clinical_backend.settings import Settings

__all__ = [
    "BackboneChoice",
    "BackboneTrial",
    "ServingRecord",
    "State",
    "load_serving",
    "load_trial",
    "save_serving",
    "save_trial",
    "serving_folder",
]

State = Literal["running", "failed", "declined", "serving"]

_SERVING, _TRIAL = "serving.json", "trial.json"


class BackboneChoice(NamedTuple):
    """A backbone as the settings name it: BACKBONE and IMAGE_SIZE."""

    backbone: str
    image_size: int | None

    def __str__(self) -> str:
        return self.backbone if self.image_size is None else f"{self.backbone} at {self.image_size} px"


class ServingRecord(Record):
    """Which backbone makes the features that a project's rounds work with.

    Attributes
    ----------
    choice
        How it is named.
    key
        What identifies its features: where the name has come to mean another network, this one is gone.
    replaced
        The one before it: the published model takes its features until the next round.
    """

    choice: BackboneChoice
    key: str
    replaced: BackboneChoice | None = None


class BackboneTrial(Record):
    """How it stands with the backbone of the settings, where it is not the one that serves.

    Attributes
    ----------
    choice
        How it is named.
    state
        ``running`` until its features are made and compared, ``failed`` if that failed and is tried again, ``declined``
        where it is worse and does not serve, ``serving`` where it does.
    message
        For people.
    """

    choice: BackboneChoice
    state: State
    message: str


def serving_folder(settings: Settings, project_id: int) -> Path:
    """Return where is kept which backbone serves a project."""
    return settings.model_dir / "serving" / str(project_id)


def load_serving(folder: Path) -> ServingRecord | None:
    """Return which backbone serves the project of a folder; ``None`` where no round has noted it."""
    return load_record(folder / _SERVING, ServingRecord)


def save_serving(folder: Path, record: ServingRecord) -> None:
    """Have a backbone serve the project of a folder, from the next round on.

    Raises
    ------
    ModelError
        When the folder cannot be written.
    """
    save_record(folder / _SERVING, record)


def load_trial(folder: Path) -> BackboneTrial | None:
    """Return how it stood last with another backbone; ``None`` where none was set since the project began."""
    return load_record(folder / _TRIAL, BackboneTrial)


def save_trial(folder: Path, trial: BackboneTrial) -> None:
    """Write down how it stands with another backbone.

    Raises
    ------
    ModelError
        When the folder cannot be written.
    """
    save_record(folder / _TRIAL, trial)
