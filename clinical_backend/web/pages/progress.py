"""How far a running round is, and when it will be done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["STAGES", "Progress", "progress_of"]

STAGES = {
    "sync": "Reading tasks and labels",
    "embed": "Looking at new images",
    "fit": "Learning from labels",
    "rank": "Ordering the pool",
    "publish": "Publishing the queue",
}


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a running round stands.

    Attributes
    ----------
    stage
        Name of the stage that runs.
    done, total
        Images of the stage that are done, and all; 0 where the stage does not count.
    seconds_left
        Until it is published, by the stages of the round before and the speed of this one; ``None`` while neither
        tells.
    """

    stage: str
    done: int
    total: int
    seconds_left: float | None


def progress_of(stage: str, done: int, total: int, *, elapsed: float, before: Mapping[str, float]) -> Progress:
    """Estimate how long a running round will still take.

    Parameters
    ----------
    stage, done, total
        As the round notes them.
    elapsed
        Seconds since it began.
    before
        Seconds that each stage took in the round before; empty without one.
    """
    names = list(STAGES)
    place = names.index(stage) if stage in STAGES else 0
    earlier, later = names[:place], names[place + 1 :]
    in_stage = max(0.0, elapsed - sum(before.get(name, 0.0) for name in earlier))
    if total and done:
        here: float | None = in_stage * (total - done) / done
    elif not total and stage in before:
        here = max(0.0, before[stage] - in_stage)
    else:
        here = None
    if here is None:
        return Progress(stage, done, total, None)
    return Progress(stage, done, total, here + sum(before.get(name, 0.0) for name in later))
