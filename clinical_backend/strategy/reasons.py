"""Why a task is in the queue, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from clinical_backend.origins import Draw
from clinical_backend.strategy.outside import exemplar_of
from clinical_backend.text import joined

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["UNLED_REASON", "chance_of", "deciding_image", "reason_for_reader", "reason_of"]

UNLED_REASON = "One of those that everybody is to read without a hint."
"""What a reader is told of random draws and of second readings alike, so that the latter cannot be told apart."""


class Placed(Protocol):
    """A task with its place in a queue, as ranked or as stored."""

    @property
    def draw(self) -> Draw:
        """Why it stands there."""

    @property
    def targets(self) -> Sequence[str] | None:
        """Of several findings those that it is sought for."""

    @property
    def nearest_exemplar(self) -> int | None:
        """The task of the query set, or the exemplar from outside, that it is most like."""

    @property
    def similarity(self) -> float | None:
        """The cosine of their centred features."""

    @property
    def words(self) -> str | None:
        """What was looked for by words and it is like, if anything."""

    @property
    def image(self) -> int | None:
        """Place, from 0, of the image that decided among those of the task; ``None`` where no single one did."""

    @property
    def images(self) -> int | None:
        """How many images the task shows, where one decided."""

    @property
    def view(self) -> str | None:
        """Name of the view of that image, if it has one."""

    @property
    def chance(self) -> float | None:
        """How likely it is rare."""

    @property
    def chance_low(self) -> float | None:
        """Lower end of its interval."""

    @property
    def chance_high(self) -> float | None:
        """Upper end of its interval."""


def reason_for_reader(task: Placed) -> str:
    """Return what a reader is told of why a task is in the queue."""
    return UNLED_REASON if task.draw is Draw.AUDIT else reason_of(task)


def reason_of(task: Placed, *, with_chance: bool = True) -> str:
    """Return why a task is in its place of the queue, in one or two sentences.

    Parameters
    ----------
    with_chance
        Whether the chance that it is rare is among them, where it is known.
    """
    if task.draw is Draw.AUDIT:
        return "Drawn at random, for an honest count of the rare cases."
    if task.draw is Draw.DIVERSE:
        return "Unlike what is labelled: variety, while nothing is known of the target."
    if task.draw is Draw.MARGIN:
        return "Two classes look about equally likely here: its label teaches the classifier to tell them apart."
    found = [f"Sought for {joined(task.targets)}."] if task.targets else []
    if with_chance and (chance := chance_of(task)):
        found.append(f"The chance that it is rare is {chance}.")
    if task.nearest_exemplar is not None and task.similarity is not None:
        outside = exemplar_of(task.nearest_exemplar)
        nearest = f"task {task.nearest_exemplar}" if outside is None else f"exemplar {outside} from outside"
        found.append(f"Most like {nearest} (similarity {task.similarity:.2f}).")
    if task.words:
        found.append(f"Like the words “{task.words}”.")
    if decides := deciding_image(task):
        found.append(f"{decides[0].upper()}{decides[1:]} decides.")
    return " ".join(found) or "Chosen for the target."


def deciding_image(task: Placed) -> str | None:
    """Name the image that put a task with several into the queue; ``None`` where no single one did."""
    if task.draw is not Draw.TARGET or task.image is None:
        return None
    view = f" ({task.view})" if task.view else ""
    return f"image {task.image + 1} of {task.images}{view}"


def chance_of(task: Placed) -> str | None:
    """Write the chance that a task is rare, with its interval; ``None`` where it is not known, or not to be told.

    A score is no chance, and is never written as a share. What is believed of an audit draw is not told.
    """
    if task.draw is Draw.AUDIT or task.chance is None or task.chance_low is None or task.chance_high is None:
        return None
    return f"{_share(task.chance)} ({_share(task.chance_low)} to {_share(task.chance_high)})"


def _share(value: float) -> str:
    return "under 1%" if value < 0.005 else f"{min(value, 0.99):.0%}"
