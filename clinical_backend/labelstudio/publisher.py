"""The only writer of predictions: a queue becomes visible by one switch, after all of it is in."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from clinical_backend.errors import (
    InvalidArgumentError,
    LabelStudioError,
    LabelStudioRefusedError,
    LabelStudioUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from clinical_backend.labelstudio.client import LabelStudioClient

__all__ = [
    "QUEUE_SCORE_LIMIT",
    "Published",
    "Publisher",
    "QueueItem",
    "queue_score",
]

logger = logging.getLogger(__name__)

QUEUE_SCORE_LIMIT = 0.5
"""Scores of a published queue lie in [0, 0.5), also of those that earlier versions published: Label Studio serves the
lowest score first."""

_STEP = 1e-9
"""Between two places: Label Studio shows a score as a percentage with two decimals, and one that does not tell places
apart (below 0.005 % for 50,000 places) is not read as a confidence."""

_ATTEMPTS = 3
"""Of an import. The round fails after that, and is tried again after a wait."""


def queue_score(rank: int) -> float:
    """Return the score of the task at a rank, from 0."""
    return _STEP * rank


@dataclass(frozen=True, slots=True)
class QueueItem:
    """One place in a queue.

    Attributes
    ----------
    task_id
        The task.
    result
        Regions of the pre-annotation; empty for none.
    score
        In [0, 0.5), ascending in the order of the queue; see :func:`queue_score`.
    """

    task_id: int
    result: list[dict[str, Any]]
    score: float


@dataclass(frozen=True, slots=True)
class Published:
    """What became of a queue.

    Attributes
    ----------
    version
        The version under which readers now get it.
    task_ids
        Its tasks, in order.
    dropped
        Tasks that were deleted meanwhile.
    switched_at
        When readers got it, by Label Studio's clock.
    """

    version: str
    task_ids: tuple[int, ...]
    dropped: tuple[int, ...] = ()
    switched_at: float | None = field(default=None, compare=False)


class Publisher:
    """Publishes queues and retires old ones.

    Parameters
    ----------
    client
        Label Studio.
    require
        Called before each change; it raises where this process may make none any more.
    """

    def __init__(self, client: LabelStudioClient, require: Callable[[], None] = lambda: None) -> None:
        self._client = client
        self._require = require

    def publish(
        self,
        project_id: int,
        version: str,
        items: Sequence[QueueItem],
        ready: Callable[[Sequence[int]], None] = lambda _: None,
    ) -> Published:
        """Make a queue the one that readers are served from.

        All its predictions are imported and counted before the project is switched to them, so no reader
        meets a half of it. What a crashed attempt left of the same version is replaced; a version that
        readers are served from already is left as it is. Tasks that were deleted meanwhile are dropped.

        Parameters
        ----------
        project_id
            The project.
        version
            Name of this round's predictions, different from all earlier ones'.
        items
            The queue, in order. With none there is nothing to switch to: the old queue stays.
        ready
            Called when all is in, right before the switch, with the tasks of the queue.

        Raises
        ------
        InvalidArgumentError
            When a score is outside [0, 0.5), the order is not that of the scores, or a task comes twice.
        LabelStudioError
            When Label Studio does not store the queue. The old one is then still in place.
        """
        _check(version, items)
        if not items:
            return Published(version, ())
        current = self._client.project(project_id).model_version
        if current == version and version in self._client.model_versions(project_id):
            return Published(version, tuple(item.task_id for item in items), (), self._client.server_time())
        kept = self._import(project_id, version, items)
        task_ids = tuple(item.task_id for item in kept)
        self._require()
        ready(task_ids)
        self._client.update_project(project_id, model_version=version)
        switched_at = self._client.server_time()
        held = frozenset(task_ids)
        dropped = tuple(item.task_id for item in items if item.task_id not in held)
        return Published(version, task_ids, dropped, switched_at)

    def retire(self, project_id: int, keep: Collection[str], own: Collection[str]) -> list[str]:
        """Delete our own older queues and return their versions.

        Parameters
        ----------
        project_id
            The project.
        keep
            Versions to keep. The one that readers are served from is kept in any case.
        own
            Every version that this installation published; all others are somebody else's, whatever their names.
        """
        retired = []
        for version in sorted(self._client.model_versions(project_id)):
            if version not in own or version in keep:
                continue
            # Read anew each time: another process may just have switched.
            if self._client.project(project_id).model_version == version:
                continue
            self._require()
            self._client.delete_model_version(project_id, version)
            retired.append(version)
        return retired

    def _import(self, project_id: int, version: str, items: Sequence[QueueItem]) -> Sequence[QueueItem]:
        """Import a queue until Label Studio holds exactly its predictions; return what was kept of it."""
        failure: LabelStudioError | None = None
        for _ in range(_ATTEMPTS):
            if version in self._client.model_versions(project_id):
                self._client.delete_model_version(project_id, version)
            try:
                self._import_once(project_id, version, items)
            except LabelStudioUnavailableError as error:
                # On SQLite, "database is locked" while readers annotate.
                failure = error
            except LabelStudioRefusedError as error:
                failure = error
                existing = self._client.existing_tasks(project_id, [item.task_id for item in items])
                remaining = [item for item in items if item.task_id in existing]
                if len(remaining) == len(items) or not remaining:
                    raise
                logger.info("Project %d: %d queued tasks are gone", project_id, len(items) - len(remaining))
                items = remaining
            else:
                return items
        assert failure is not None
        raise failure

    def _import_once(self, project_id: int, version: str, items: Sequence[QueueItem]) -> None:
        """Import a queue and make sure that it is whole."""
        self._require()
        self._client.import_predictions(project_id, [_prediction(item, version) for item in items])
        stored = self._client.model_versions(project_id).get(version, 0)
        if stored != len(items):
            raise LabelStudioRefusedError(
                f"Label Studio holds {stored} of {len(items)} predictions of version {version!r}.",
                "The old queue stays. Label Studio drops predictions that do not fit the labeling config"
                " without saying so: if it was changed meanwhile, the next round reads it anew.",
            )


def _prediction(item: QueueItem, version: str) -> dict[str, Any]:
    return {"task": item.task_id, "result": item.result, "score": item.score, "model_version": version}


def _check(version: str, items: Sequence[QueueItem]) -> None:
    if not version.strip():
        raise InvalidArgumentError("version", "it is empty.", "Name the round.")
    if len({item.task_id for item in items}) != len(items):
        raise InvalidArgumentError("items", "a task comes twice.", "Queue every task once.")
    scores = [item.score for item in items]
    if not all(0.0 <= score < QUEUE_SCORE_LIMIT for score in scores):
        raise InvalidArgumentError(
            "items", f"a score is outside [0, {QUEUE_SCORE_LIMIT}).", "Take the scores from queue_score."
        )
    if any(later <= earlier for earlier, later in pairwise(scores)):
        raise InvalidArgumentError("items", "the scores do not ascend.", "Give the items in the order of the queue.")
