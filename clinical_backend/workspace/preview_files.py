"""What somebody wants to know of settings before they are saved, and the answer, on disk: any process of a backend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from clinical_backend.origins import Draw  # noqa: TC001 - pydantic reads records by it
from clinical_backend.workspace.record_files import Record, load_record, save_record

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "PreviewAnswer",
    "PreviewQuestion",
    "PreviewedTask",
    "load_answer",
    "load_question",
    "save_answer",
    "save_question",
]

_QUESTION, _ANSWER = "question.json", "answer.json"


class PreviewQuestion(Record):
    """Settings that are not saved.

    Attributes
    ----------
    key
        Tells it from others.
    asked_at
        When, in seconds since the epoch.
    options
        What the page would set.
    declined
        Classes that are not looked for.
    entered
        The same as it was entered, by field of the form.
    seen
        What the page had set when the form was shown.
    """

    key: str
    asked_at: float
    options: dict[str, Any]
    declined: tuple[str, ...]
    entered: dict[str, str]
    seen: str


class PreviewedTask(BaseModel):
    """A place of a queue that is not published.

    Attributes
    ----------
    task_id
        The task.
    draw
        Why it would stand there; ``None`` for a second reading.
    """

    model_config = ConfigDict(frozen=True)

    task_id: int
    draw: Draw | None


class PreviewAnswer(Record):
    """What these settings would do.

    Attributes
    ----------
    key
        Of the question.
    problem
        Why that cannot be told; ``None`` where it can.
    version
        The published queue when it was computed.
    number
        Of the round that would be next.
    with_these
        The queue that it would publish, in the order of its places.
    as_set
        The one that it would publish with the settings as they are saved.
    reasons
        Why each of the two has its order, for people.
    seconds
        How long that took.
    """

    key: str
    problem: str | None = None
    version: str = ""
    number: int = 0
    with_these: tuple[PreviewedTask, ...] = ()
    as_set: tuple[PreviewedTask, ...] = ()
    reasons: tuple[str, str] = ("", "")
    seconds: float = 0.0


def load_question(folder: Path) -> PreviewQuestion | None:
    """Return what was asked last; ``None`` before the first."""
    return load_record(folder / _QUESTION, PreviewQuestion)


def save_question(folder: Path, question: PreviewQuestion) -> None:
    """Ask, in place of what was asked before.

    Raises
    ------
    ModelError
        When the folder cannot be written.
    """
    save_record(folder / _QUESTION, question)


def load_answer(folder: Path) -> PreviewAnswer | None:
    """Return the last answer; ``None`` before the first."""
    return load_record(folder / _ANSWER, PreviewAnswer)


def save_answer(folder: Path, answer: PreviewAnswer) -> None:
    """Answer, in place of what was answered before.

    Raises
    ------
    ModelError
        When the folder cannot be written.
    """
    save_record(folder / _ANSWER, answer)
