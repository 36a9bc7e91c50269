"""The errors of this package: each names the problem and what to do about it."""

from __future__ import annotations

__all__ = [
    "ClinicalError",
    "ClusterError",
    "ImageError",
    "InvalidArgumentError",
    "JobQueueError",
    "LabelStudioError",
    "LabelStudioRefusedError",
    "LabelStudioUnauthorizedError",
    "LabelStudioUnavailableError",
    "LabelingConfigError",
    "ModelError",
    "NotWellError",
    "RoundAbandonedError",
    "RoundTimeoutError",
    "SettingsError",
    "StorageError",
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
        return f"{self.problem} {self.cure}"


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


class LabelingConfigError(LabelStudioError):
    """The project's labeling config is not one that an image classifier can learn from."""


class ImageError(ClinicalError):
    """An image cannot be fetched or decoded."""


class ModelError(ClinicalError):
    """A backbone, a classifier or a checkpoint cannot be built, read or trusted."""


class JobQueueError(ClinicalError):
    """Redis, through which workers are told what to do, cannot be reached."""


class NotWellError(ClinicalError):
    """The server or the worker of this machine does not do its work."""


class ClusterError(ClinicalError):
    """Ray is not installed, its cluster cannot be reached, or workers on it fail."""


class RoundAbandonedError(ClinicalError):
    """A round goes on though it was given up: its worker was taken for dead, or its project is gone."""


class RoundTimeoutError(ClinicalError):
    """A round took longer than it may."""


class StorageError(ClinicalError):
    """The state on disk or in the database cannot be read or written."""


class SettingsError(ClinicalError):
    """A setting has a value that the backend cannot work with."""
