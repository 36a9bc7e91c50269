"""What stands still, in words: a round that does not get on, or one that is due and that nobody begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clinical_backend.storage.stores.standing import standings
from clinical_backend.system.processes import is_of_this_machine

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clinical_backend.settings import Settings
    from clinical_backend.storage.database import Database
    from clinical_backend.storage.stores.standing import RunningRound, Standing

__all__ = ["is_worked", "stalls", "stalls_here"]

_TOLD = 0.5
"""Share of STALL_TIMEOUT_SECONDS after which it is told: before the worker is ended, but after what is only slow."""


def stalls(database: Database, settings: Settings) -> dict[int, str]:
    """Return what stands still in each project where something does, with what is done about it."""
    every = standings(database)
    worked = is_worked(every, settings)
    told = {project_id: _stall(standing, settings, worked=worked) for project_id, standing in every.items()}
    return {project_id: problem for project_id, problem in told.items() if problem is not None}


def stalls_here(database: Database, settings: Settings) -> list[str]:
    """Return what stands still of the rounds that workers of this machine are at."""
    told = (_stall(each, settings, worked=False) for each in standings(database).values() if _is_here(each.running))
    return [problem for problem in told if problem is not None]


def _is_here(running: RunningRound | None) -> bool:
    return running is not None and running.holder is not None and is_of_this_machine(running.holder)


def is_worked(every: Mapping[int, Standing], settings: Settings) -> bool:
    """Tell whether a live worker is at some round, and so comes to those that are due in their turn."""
    running = [standing.running for standing in every.values() if standing.running is not None]
    return any(
        one.silent <= settings.worker_timeout_seconds and one.idle <= _TOLD * settings.stall_timeout_seconds
        for one in running
    )


def _stall(standing: Standing, settings: Settings, *, worked: bool) -> str | None:
    running, limit = standing.running, settings.stall_timeout_seconds
    if running is not None and running.silent > settings.worker_timeout_seconds:
        return (
            f"The worker at round {running.number} has given no sign of life for {_span(running.silent)}: it is "
            "stopped or dead. The round is run again by another worker, or by a new process; if this stays, start one."
        )
    if running is not None and running.idle > _TOLD * limit:
        return (
            f"Round {running.number} has not got on for {_span(running.idle)}, at the stage {running.stage}. After "
            f"{_span(limit)} (STALL_TIMEOUT_SECONDS) its worker is ended and the round is run again; the worker's log "
            "may say what it waits for."
        )
    if running is None and standing.due > limit and not worked:
        return (
            f"A round has been due for {_span(standing.due)}, and nobody begins it. See that a worker runs, and in its "
            "log what it is at."
        )
    return None


def _span(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"
