"""The errors of this package: each names the problem and what to do about it."""

from __future__ import annotations

__all__ = [
    "ArchiveError",
    "ClinicalError",
    "ClusterError",
    "ImageError",
    "InstallationError",
    "InvalidArgumentError",
    "JobQueueError",
    "LabelStudioError",
    "LabelStudioFaultError",
    "LabelStudioRefusedError",
    "LabelStudioUnauthorizedError",
    "LabelStudioUnavailableError",
    "LabelStudioVersionError",
    "LabelingConfigError",
    "ModelError",
    "NotConnectedError",
    "NotWellError",
    "OtherModelError",
    "PlottingError",
    "RoundAbandonedError",
    "RoundTimeoutError",
    "SettingsError",
    "StorageError",
    "TrailError",
]


class ClinicalError(Exception):
    """Base of all errors that this package raises on purpose.

    Parameters
    ----------
    problem
        What is wrong, as a sentence. It never holds a token or patient data.
    cure
        What the reader of the message can do about it, as a sentence.
    """

    def __init__(self, problem: str, cure: str) -> None:
        super().__init__(problem, cure)
        self.problem = problem
        self.cure = cure

    def __str__(self) -> str:
        return f"{self.problem} {self.cure}".strip()


class InvalidArgumentError(ClinicalError, ValueError):
    """A function was called with an argument outside its domain.

    Parameters
    ----------
    argument
        Name of the argument.
    problem
        Why its value is refused.
    cure
        Which values are accepted.
    """

    def __init__(self, argument: str, problem: str, cure: str) -> None:
        super().__init__(f"Argument {argument!r}: {problem}", cure)
        self.argument = argument
        self.args = (argument, problem, cure)  # what another process makes it anew of


class LabelStudioError(ClinicalError):
    """Something about Label Studio is in the way."""


class LabelStudioUnavailableError(LabelStudioError):
    """Label Studio does not answer, or answers with a server error: try again later."""


class LabelStudioFaultError(LabelStudioUnavailableError):
    """Label Studio fails in answering (status 500), which may be about what was asked for."""


class LabelStudioVersionError(LabelStudioError):
    """Label Studio is older than what this backend works with."""


class LabelStudioUnauthorizedError(LabelStudioError):
    """Label Studio refuses the API key."""


class LabelStudioRefusedError(LabelStudioError):
    """Label Studio understood the request and refuses it (4xx).

    Parameters
    ----------
    problem, cure
        As in the base class.
    status
        The HTTP status of the refusal.
    """

    def __init__(self, problem: str, cure: str, *, status: int = 400) -> None:
        super().__init__(problem, cure)
        self.status = status


class NotConnectedError(LabelStudioRefusedError):
    """The project has no backend at all: it was not connected, or connecting was undone."""


class LabelingConfigError(LabelStudioError):
    """The project's labeling config is not one that an image classifier can learn from."""


class InstallationError(LabelStudioError):
    """Another installation of this backend serves the project: this one stands back."""


class ArchiveError(ClinicalError):
    """An archive of images cannot be read, or does not answer as one."""


class ImageError(ClinicalError):
    """An image cannot be fetched or decoded."""


class ImageLeftError(ImageError):
    """An image was not tried, or not to its end, since the time for it is over: it is read later."""


class ModelError(ClinicalError):
    """A backbone, a classifier or a checkpoint cannot be built, read or trusted."""


class JobQueueError(ClinicalError):
    """Redis, through which workers are told what to do, cannot be reached."""


class NotWellError(ClinicalError):
    """The server or the worker of this machine does not do its work."""


class ClusterError(ClinicalError):
    """Ray is not installed, its cluster cannot be reached, or workers on it fail."""


class PlottingError(ClinicalError):
    """What draws plots is not installed."""


class OtherModelError(LabelStudioError):
    """A person let readers follow another model's predictions: no queue is switched to without being asked for."""


class RoundAbandonedError(ClinicalError):
    """A round goes on though it was given up: its worker was taken for dead, or its project is gone."""


class ProjectBusyError(ClinicalError):
    """Another process works at the project."""


class RoundTimeoutError(ClinicalError):
    """A round took longer than it may."""


class StorageError(ClinicalError):
    """The state on disk or in the database cannot be read or written."""


class TrailError(StorageError):
    """The trail of who did what cannot be written: what it would have told of is not done."""


class SettingsError(ClinicalError):
    """A setting has a value that the backend cannot work with."""
