"""What somebody asks of settings before they are saved, and the answer, on disk for all processes of a backend."""

from __future__ import annotations

import re
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict

from clinical_backend.origins import Draw  # noqa: TC001 - pydantic reads records by it
from clinical_backend.workspace.record_files import Record, load_record, save_record

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "PreviewAnswer",
    "PreviewQuestion",
    "PreviewedTask",
    "is_key",
    "load_answer",
    "load_question",
    "new_key",
    "open_questions",
    "save_answer",
    "save_question",
]

_QUESTION, _ANSWER = "question-{}.json", "answer-{}.json"
_KEY = re.compile(r"[0-9a-f]{32}", re.ASCII)
_KEPT = 8
"""Questions: a few people who try a few settings each."""


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
    test_set
        Tasks that the round would draw into the test set first, since that is asked for.
    """

    key: str
    problem: str | None = None
    version: str = ""
    number: int = 0
    with_these: tuple[PreviewedTask, ...] = ()
    as_set: tuple[PreviewedTask, ...] = ()
    reasons: tuple[str, str] = ("", "")
    seconds: float = 0.0
    test_set: int = 0


_Kept = TypeVar("_Kept", PreviewQuestion, PreviewAnswer)


def is_key(text: str) -> bool:
    """Tell whether a text may be the key of a question."""
    return _KEY.fullmatch(text) is not None


def new_key() -> str:
    """Return the key of a question that nobody guesses."""
    return secrets.token_hex(16)


def load_question(folder: Path, key: str) -> PreviewQuestion | None:
    """Return a question; ``None`` where there is none, or it was asked too long ago."""
    return _of_key(key, load_record(folder / _QUESTION.format(key), PreviewQuestion)) if is_key(key) else None


def open_questions(folder: Path) -> list[PreviewQuestion]:
    """Return the questions that nobody answered yet, the newest first."""
    keys = [path.stem.rpartition("-")[2] for path in folder.glob(_QUESTION.format("*"))]
    asked = (load_question(folder, key) for key in keys if load_answer(folder, key) is None)
    return sorted(filter(None, asked), key=lambda one: -one.asked_at)


def save_question(folder: Path, question: PreviewQuestion) -> None:
    """Ask, and forget what was asked before the last few.

    Raises
    ------
    ModelError
        When the folder cannot be written.
    """
    save_record(folder / _QUESTION.format(question.key), question)
    with suppress(OSError):  # one that another process removes meanwhile
        asked = sorted(folder.glob(_QUESTION.format("*")), key=lambda path: -path.stat().st_mtime)
        for path in asked[_KEPT:]:
            (folder / _ANSWER.format(path.stem.rpartition("-")[2])).unlink(missing_ok=True)
            path.unlink(missing_ok=True)


def load_answer(folder: Path, key: str) -> PreviewAnswer | None:
    """Return the answer to a question; ``None`` before it is there."""
    return _of_key(key, load_record(folder / _ANSWER.format(key), PreviewAnswer)) if is_key(key) else None


def save_answer(folder: Path, answer: PreviewAnswer) -> None:
    """Answer a question.

    Raises
    ------
    ModelError
        When the folder cannot be written.
    """
    save_record(folder / _ANSWER.format(answer.key), answer)


def _of_key(key: str, record: _Kept | None) -> _Kept | None:
    """Return a record; ``None`` of one that is a copy of another: an answer to it would answer that one for ever."""
    return record if record is not None and record.key == key else None
