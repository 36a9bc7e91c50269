"""Where queued tasks and labels come from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "DRAWS_IN_WORDS",
    "DRAWS_OF_QUEUE",
    "NOTHING_SHOWN",
    "ORIGINS_IN_WORDS",
    "UNKNOWN_SHOWN",
    "AnswerKind",
    "Draw",
    "LedgerEntry",
    "Origin",
]

NOTHING_SHOWN = "none"
"""In place of the version of a prediction: the reader started from a blank form."""
UNKNOWN_SHOWN = "unknown"
"""In its place where nothing tells what stood there."""


class Draw(StrEnum):
    """Why a task stands in a queue."""

    TARGET = "target"
    """Sought for the target."""
    DIVERSE = "diverse"
    """For variety."""
    MARGIN = "margin"
    """For the classifier, to which two classes are about as likely: neither sought nor met by chance."""
    AUDIT = "audit"
    """Drawn at random."""


class Origin(StrEnum):
    """How a label came about. Only labels from a queue tell what queues find."""

    QUEUE = "queue"
    """A reader was served the task from a published queue."""
    PAST_QUEUE = "past_queue"
    """A reader chose the task, or was served it while no queue held it."""
    SECOND_LOOK = "second_look"
    """A reader answered what an import or a model had answered before."""
    IMPORTED = "imported"
    """It came with the task, or with an import."""
    ACCEPTED = "accepted"
    """A prediction was made an annotation in bulk; nobody looked at the image."""


class AnswerKind(StrEnum):
    """What a reader did with a task."""

    OWN = "own"
    """Answered it."""
    ACCEPTED = "accepted"
    """Made a prediction an annotation in bulk, without looking at the image."""
    SKIP = "skip"


ORIGINS_IN_WORDS = {
    Origin.QUEUE: "from queues",
    Origin.PAST_QUEUE: "chosen by a reader past the queue",
    Origin.SECOND_LOOK: "read again after an import or the model had answered",
    Origin.IMPORTED: "imported, with no reader of this project",
    Origin.ACCEPTED: "accepted from a model, without anybody looking",
}
"""As pages and datasheets say it."""
DRAWS_OF_QUEUE = {
    Draw.TARGET: "sought",
    Draw.DIVERSE: "for variety",
    Draw.MARGIN: "for the classifier",
    Draw.AUDIT: "audit draw",
}
"""As pages say it of what waits."""
DRAWS_IN_WORDS = {
    Draw.TARGET: "from a queue, sought for what is looked for",
    Draw.DIVERSE: "from a queue, for variety",
    Draw.MARGIN: "from a queue, where the classifier hardly decides",
    Draw.AUDIT: "from a queue, drawn at random",
}
"""As datasheets and model cards say it."""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """A task with a class, and how it reached its reader; the fields mean what those of the table mean."""

    task_id: int
    label: str
    origin: Origin
    draw: Draw | None
    round_number: int | None
    readings: int
    shown_prediction: str = UNKNOWN_SHOWN

    @property
    def in_words(self) -> str:
        """How the label came about, as datasheets and model cards say it."""
        return ORIGINS_IN_WORDS[self.origin] if self.draw is None else DRAWS_IN_WORDS[self.draw]
