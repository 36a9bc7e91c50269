"""Label Studio's REST interface, as far as this package uses it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Self, TypeVar

from pydantic import TypeAdapter, ValidationError

from clinical_backend.errors import LabelStudioRefusedError
from clinical_backend.labelstudio.releases import OLDEST_TESTED
from clinical_backend.labelstudio.resources import (
    AnnotatedTask,
    Backend,
    Project,
    Task,
    User,
    View,
    Webhook,
)
from clinical_backend.labelstudio.session import Session
from clinical_backend.labelstudio.task_lists import IDS_PER_ADDRESS, SLOW_SECONDS, FoundTasks, TaskLists, task_filter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from types import TracebackType

    import httpx2

    from clinical_backend.labelstudio.authentication import TokenKind

__all__ = ["LabelStudioClient"]

T = TypeVar("T")
TaskT = TypeVar("TaskT", bound=Task)

_PAGE = 5000
"""Tasks of one answer: of the order at which requests are few and an answer has some MB; not measured."""
# Label Studio keeps only the named fields, at every depth.
_TASK_FIELDS = "id,data"
_ANNOTATION_FIELDS = (
    "annotations,result,was_cancelled,ground_truth,completed_by,created_at,updated_at,lead_time,import_id,"
    "parent_prediction"
)


class LabelStudioClient:
    """A connection to one Label Studio with one user's token; safe to share between threads.

    Parameters
    ----------
    url
        Root of Label Studio, with its sub-path if it has one.
    api_key
        A legacy token or a personal access token.
    time_out
        Seconds that Label Studio may take for one answer.
    transport
        What carries the requests; another one is for tests.

    Raises
    ------
    InvalidArgumentError
        When ``url`` is no address of a server.
    LabelStudioUnauthorizedError
        From every method, when Label Studio refuses the token; at once, when it cannot be one.
    LabelStudioUnavailableError
        From every method, when Label Studio does not answer.
    LabelStudioRefusedError
        From every method, when Label Studio refuses the request; ``status`` tells how.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        time_out: float = 60.0,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self.session = Session(url, api_key, time_out=time_out, transport=transport)
        self._tasks = TaskLists(self.session)

    @property
    def url(self) -> str:
        """Root of Label Studio."""
        return self.session.url

    @property
    def http(self) -> httpx2.Client:
        """The authenticated client below; it sends the token to Label Studio's own host only."""
        return self.session.http

    @property
    def token_kind(self) -> TokenKind:
        """Which kind of token this client has."""
        return self.session.token_kind

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self.session.close()

    # The server and its users

    def version(self) -> str:
        """Return Label Studio's release, such as ``1.23.2``."""
        return str(self._get("api/version/").get("release", "unknown"))

    def whoami(self) -> User:
        """Return the user that the token belongs to."""
        return self._read(User, self._get("api/current-user/whoami"))

    def users(self) -> list[User]:
        """Return all users of the organisation: each may be served any project's tasks."""
        return self._read(list[User], self._get("api/users/"))

    def server_time(self) -> float:
        """Return the time by Label Studio's clock, in seconds since the epoch, as far as its last answer told."""
        return time.time() + self.session.clock_offset

    # Projects

    def project(self, project_id: int) -> Project:
        """Return a project."""
        return self._read(Project, self._get(f"api/projects/{project_id}/"))

    def update_project(self, project_id: int, **fields: Any) -> Project:
        """Change fields of a project."""
        return self._read(Project, self._send("PATCH", f"api/projects/{project_id}/", fields))

    # Tasks

    def tasks(self, project_id: int, *, after_id: int | None = None) -> list[Task]:
        """Return a project's tasks by ascending id, read in bounded pages.

        Parameters
        ----------
        project_id
            The project.
        after_id
            Return only tasks with a greater id: those that were imported since.
        """
        return list(self._pages(Task, project_id, _TASK_FIELDS, after_id or 0))

    def first_tasks(self, project_id: int, number: int) -> list[Task]:
        """Return the first tasks of a project by id, at most so many."""
        page, _ = self._tasks.read(project_id, _TASK_FIELDS, {"ordering": ["tasks:id"]}, number)
        return self._read(list[Task], page)

    def count_open(self, project_id: int) -> int:
        """Return how many tasks have no annotation."""
        query = {"filters": {"conjunction": "and", "items": [task_filter("total_annotations", "equal", 0)]}}
        return self._tasks.ask(project_id, "id", query, 1)[1]

    def count_open_below(self, project_id: int, score: float) -> int:
        """Return how many tasks without annotation the project's model version scores below ``score``."""
        items = [task_filter("total_annotations", "equal", 0), task_filter("predictions_score", "less", score)]
        query = {"filters": {"conjunction": "and", "items": items}}
        return self._tasks.ask(project_id, "id", query, 1)[1]

    def annotated_tasks(self, project_id: int) -> list[AnnotatedTask]:
        """Return all tasks that any reader has answered, by ascending id.

        Their data is left out. Skipped tasks and imported annotations are among them, drafts are not. The export would
        give the same, but leaves a copy of it on Label Studio's disk each time.
        """
        fields = f"id,{_ANNOTATION_FIELDS}"
        found = (
            task
            for counter in ("total_annotations", "cancelled_annotations")
            for task in self._pages(
                AnnotatedTask, project_id, fields, 0, task_filter(counter, "greater", 0), with_answers=True
            )
        )
        return sorted({task.id: task for task in found}.values(), key=lambda task: task.id)

    def existing_tasks(self, project_id: int, task_ids: Iterable[int]) -> frozenset[int]:
        """Return which of these tasks the project still holds."""
        return frozenset(task["id"] for task in self._chosen(project_id, task_ids, "id"))

    def tasks_with_answers(self, project_id: int, task_ids: Iterable[int]) -> list[AnnotatedTask]:
        """Return those of these tasks that the project still holds, with all that anybody answered and who may yet."""
        fields = f"{_TASK_FIELDS},{_ANNOTATION_FIELDS},overlap,is_labeled"
        return self._read(list[AnnotatedTask], list(self._chosen(project_id, task_ids, fields, with_answers=True)))

    def tasks_with_value(
        self, project_id: int, field: str, value: str, limit: int, time_out: float, *, whole: bool
    ) -> FoundTasks:
        """Return the last tasks with a value in a field of their data, as :meth:`TaskLists.with_value` does."""
        return self._tasks.with_value(project_id, field, value, limit, time_out, whole=whole)

    def update_task(self, task_id: int, **fields: Any) -> None:
        """Change fields of a task."""
        self._send("PATCH", f"api/tasks/{task_id}/", fields)

    # Predictions

    def import_predictions(self, project_id: int, items: Sequence[Mapping[str, Any]]) -> int:
        """Import predictions in one request and return how many were stored.

        It is not atomic on every server, and not repeated after a time-out: look at
        :meth:`model_versions` before trying again.
        """
        reply = self._send("POST", f"api/projects/{project_id}/import/predictions", list(items), time_out=SLOW_SECONDS)
        return int(reply["created"])

    def model_versions(self, project_id: int) -> dict[str, int]:
        """Return how many predictions of each version the project holds."""
        counts = self._get(f"api/projects/{project_id}/model-versions/")
        return {version: count for version, count in counts.items() if count > 0}

    def delete_model_version(self, project_id: int, version: str) -> int:
        """Delete all predictions of a version and return how many they were; about 140 a second.

        Label Studio resets the project's ``model_version`` when it is this one.
        """
        path = f"api/projects/{project_id}/model-versions/"
        reply = self._send("DELETE", path, {"model_version": version}, time_out=SLOW_SECONDS)
        return int(reply["deleted_predictions"])

    # Backends, webhooks and views

    def backends(self, project_id: int) -> list[Backend]:
        """Return the project's ML backends; Label Studio first calls each one's ``/setup``."""
        return self._read(list[Backend], self._get("api/ml/", project=project_id))

    def add_backend(self, project_id: int, url: str, **fields: Any) -> Backend:
        """Add an ML backend; Label Studio calls its ``/health`` and ``/setup`` meanwhile."""
        body = {"project": project_id, "url": url, **fields}
        return self._read(Backend, self._send("POST", "api/ml/", body))

    def update_backend(self, backend: Backend, **fields: Any) -> Backend:
        """Change an ML backend; Label Studio checks it again, for which it needs address and project."""
        body = {"project": backend.project, "url": backend.url, **fields}
        return self._read(Backend, self._send("PATCH", f"api/ml/{backend.id}", body))

    def delete_backend(self, backend_id: int) -> None:
        """Remove an ML backend; its webhook stays."""
        self._send("DELETE", f"api/ml/{backend_id}")

    def webhooks(self, project_id: int) -> list[Webhook]:
        """Return the project's webhooks."""
        return self._read(list[Webhook], self._get("api/webhooks/", project=project_id))

    def create_webhook(self, project_id: int, url: str, **fields: Any) -> Webhook:
        """Create a webhook of a project, for all events unless ``fields`` say otherwise."""
        body = {"project": project_id, "url": url, **fields}
        return self._read(Webhook, self._send("POST", "api/webhooks/", body))

    def update_webhook(self, webhook_id: int, **fields: Any) -> Webhook:
        """Change a webhook."""
        return self._read(Webhook, self._send("PATCH", f"api/webhooks/{webhook_id}/", fields))

    def delete_webhook(self, webhook_id: int) -> None:
        """Delete a webhook."""
        self._send("DELETE", f"api/webhooks/{webhook_id}/")

    def views(self, project_id: int) -> list[View]:
        """Return the tabs of the project's Data Manager."""
        return self._read(list[View], self._get("api/dm/views/", project=project_id))

    def create_view(self, project_id: int, data: Mapping[str, Any]) -> View:
        """Add a tab to the project's Data Manager."""
        body = {"project": project_id, "data": dict(data)}
        return self._read(View, self._send("POST", "api/dm/views/", body))

    def update_view(self, view: View, project_id: int, data: Mapping[str, Any]) -> View:
        """Change a tab of the project's Data Manager; what ``data`` does not name it keeps."""
        body = {"project": project_id, "data": {**view.data, **data}}
        return self._read(View, self._send("PATCH", f"api/dm/views/{view.id}/", body))

    def delete_view(self, view_id: int) -> None:
        """Remove a tab from the Data Manager."""
        self._send("DELETE", f"api/dm/views/{view_id}/")

    def _pages(
        self,
        kind: type[TaskT],
        project_id: int,
        fields: str,
        after_id: int,
        *filters: dict[str, Any],
        with_answers: bool = False,
    ) -> Iterator[TaskT]:
        # Paged by id, not by number, so that a task deleted meanwhile hides no other.
        adapter = TypeAdapter(list[kind])  # type: ignore[valid-type]
        while True:
            items = [task_filter("id", "greater", after_id), *filters]
            query = {"filters": {"conjunction": "and", "items": items}, "ordering": ["tasks:id"]}
            page, total = self._tasks.read(project_id, fields, query, _PAGE, with_answers=with_answers)
            yield from self._validate(adapter, page)
            if len(page) >= total:
                return
            after_id = max(task["id"] for task in page)

    def _chosen(
        self, project_id: int, task_ids: Iterable[int], fields: str, *, with_answers: bool = False
    ) -> Iterator[dict[str, Any]]:
        """Yield what the project holds of these tasks, by ascending id, and Label Studio can give."""
        wanted = sorted(set(task_ids))
        while wanted:
            part = wanted[:IDS_PER_ADDRESS]
            query = {"selectedItems": {"all": False, "included": part}, "ordering": ["tasks:id"]}
            page, total = self._tasks.read(project_id, fields, query, len(part), with_answers=with_answers)
            yield from (task for task in page if not task.get("withheld"))
            # A server may cap its pages below what was asked for.
            last = part[-1] if len(page) >= total else max(task["id"] for task in page)
            wanted = [task_id for task_id in wanted if task_id > last]

    def _get(self, path: str, **params: str | int) -> Any:  # noqa: ANN401
        return self.session.request("GET", path, params=params or None)

    def _send(
        self,
        method: str,
        path: str,
        body: Any = None,  # noqa: ANN401
        time_out: float | None = None,
    ) -> Any:  # noqa: ANN401
        return self.session.request(method, path, json=body, time_out=time_out)

    def _read(self, kind: type[T], value: Any) -> T:  # noqa: ANN401
        return self._validate(TypeAdapter(kind), value)

    def _validate(self, adapter: TypeAdapter[T], value: Any) -> T:  # noqa: ANN401
        try:
            return adapter.validate_python(value)
        except ValidationError as error:
            fields = ", ".join(sorted({".".join(map(str, item["loc"])) for item in error.errors()})[:5])
            raise LabelStudioRefusedError(
                f"Label Studio at {self.url} answers in a form that is not understood (fields: {fields}).",
                f"Use Label Studio {OLDEST_TESTED} or later; if it is, report this together with its version.",
            ) from None
