"""What each reader answered, annotation by annotation, and who made an annotation at all."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from clinical_backend.labelstudio.labeling.answers import class_of
from clinical_backend.labelstudio.labeling.project_labels import ReaderAnswer, Source
from clinical_backend.origins import AnswerKind
from clinical_backend.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from clinical_backend.labelstudio.labeling.scheme import LabelingScheme
    from clinical_backend.labelstudio.resources import AnnotatedTask, Annotation, User

__all__ = ["answer_of_reader", "names_of", "source_of"]

_IMPORT_SECONDS = 60.0
"""An answer that is so little younger than its task came with it, unless a reader had the time to give it. Label Studio
writes the answers of an import after all of its tasks: for 10,000 of them within seconds."""

_LONGEST_NAME = 80
"""Characters: Label Studio takes 256 for each part of a name, and a page has room for a person's."""


def source_of(annotation: Annotation, task: AnnotatedTask) -> Source:
    """Tell who made an annotation. A skip is always a reader's."""
    return Source.READER if annotation.was_cancelled else _maker(annotation, task)


def answer_of_reader(scheme: LabelingScheme, annotation: Annotation, task: AnnotatedTask) -> ReaderAnswer | None:
    """Return what a reader did by an annotation; ``None`` for one that an import brought, or of nobody."""
    source = _maker(annotation, task)
    if source is Source.IMPORT or annotation.completed_by is None:
        return None
    lead = annotation.lead_time
    kind = AnswerKind.ACCEPTED if source is Source.MODEL else AnswerKind.OWN
    return ReaderAnswer(
        annotation.id,
        task.id,
        annotation.completed_by,
        None if annotation.was_cancelled else class_of(scheme, annotation),
        None if annotation.created_at is None else annotation.created_at.timestamp(),
        lead if lead is not None and math.isfinite(lead) and lead > 0 else None,
        AnswerKind.SKIP if annotation.was_cancelled else kind,
    )


def names_of(users: Iterable[User]) -> dict[int, str]:
    """Return the names of users, as far as they gave one: an address of e-mail is none, wherever it was written."""
    told = {user.id: " ".join(f"{user.first_name} {user.last_name}".split()) for user in users}
    return {reader: printable(name, _LONGEST_NAME) for reader, name in told.items() if name and "@" not in name}


def _maker(annotation: Annotation, task: AnnotatedTask) -> Source:
    if annotation.import_id is not None:
        return Source.IMPORT
    if annotation.lead_time is None and annotation.parent_prediction is not None:
        return Source.MODEL
    if annotation.created_at is None or task.created_at is None:
        return Source.READER
    age = (annotation.created_at - task.created_at).total_seconds()
    # Nobody can have looked at an image for longer than its task has been there: the time came with the answer.
    came_along = age <= _IMPORT_SECONDS and (annotation.lead_time is None or annotation.lead_time > age)
    return Source.IMPORT if came_along else Source.READER
