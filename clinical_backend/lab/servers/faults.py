"""Points of a round at which a worker is made to wait or die, said by files in a folder that both sides know."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from clinical_backend.labelstudio.client import LabelStudioClient
from clinical_backend.storage.stores.rounds import RoundStore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from clinical_backend.storage.report import RoundReport
    from clinical_backend.storage.schema import Round

__all__ = ["POINTS", "Faults", "install"]

POINTS = ("sync", "embed", "fit", "rank", "publish", "imported", "switched")
"""The start of each stage; the queue imported, but readers not yet switched to it; switched, but not yet noted."""

_LOOK_SECONDS = 0.05  # well below the seconds that a stage takes


class Faults:
    """What is to happen at the points of a round.

    Parameters
    ----------
    folder
        Where that is said; it must exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def kill_at(self, point: str) -> None:
        """Have the next worker that comes to a point die by SIGKILL."""
        (self._folder / f"kill-{point}").touch()

    def killed_at(self, point: str) -> bool:
        """Tell whether it has died."""
        return not (self._folder / f"kill-{point}").exists()

    def hold_at(self, point: str) -> None:
        """Have every worker that comes to a point wait there until it is released."""
        (self._folder / f"hold-{point}").touch()

    def held_at(self, point: str) -> int | None:
        """Return the process id of the worker that waits there."""
        with suppress(FileNotFoundError, ValueError):
            return int((self._folder / f"held-{point}").read_text())
        return None

    def release(self, point: str) -> None:
        """Let who waits at a point go on, and those who come."""
        (self._folder / f"held-{point}").unlink(missing_ok=True)
        (self._folder / f"hold-{point}").unlink(missing_ok=True)

    def meet(self, point: str) -> None:
        """Wait or die, if that is to happen at a point that this worker has come to."""
        with suppress(FileNotFoundError):
            (self._folder / f"kill-{point}").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        hold = self._folder / f"hold-{point}"
        if hold.exists():
            (self._folder / f"held-{point}").write_text(str(os.getpid()))
            while hold.exists():
                time.sleep(_LOOK_SECONDS)


def install(faults: Faults) -> None:
    """Have the rounds of this process, and of those forked from it, meet the faults."""
    progress, publish = RoundStore.progress, RoundStore.publish
    import_predictions = LabelStudioClient.import_predictions

    def progress_then_fault(self: RoundStore, round_id: int, stage: str, done: int = 0, total: int = 0) -> None:
        progress(self, round_id, stage, done, total)
        faults.meet(stage)

    def import_then_fault(self: LabelStudioClient, project_id: int, items: Sequence[Mapping[str, Any]]) -> int:
        stored = import_predictions(self, project_id, items)
        faults.meet("imported")
        return stored

    def fault_then_publish(
        self: RoundStore,
        row: Round,
        report: RoundReport,
        size: int,
        switched_at: float | None = None,
        *,
        aside: int = 0,
    ) -> None:
        faults.meet("switched")
        publish(self, row, report, size, switched_at, aside=aside)

    RoundStore.progress = progress_then_fault  # type: ignore[method-assign]
    RoundStore.publish = fault_then_publish  # type: ignore[method-assign]
    LabelStudioClient.import_predictions = import_then_fault  # type: ignore[method-assign]
