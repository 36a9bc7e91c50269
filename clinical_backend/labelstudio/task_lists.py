"""Lists of a project's tasks, also where Label Studio fails in giving one of them."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clinical_backend.errors import LabelStudioFaultError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clinical_backend.labelstudio.session import Session

__all__ = ["IDS_PER_ADDRESS", "SLOW_SECONDS", "FoundTasks", "TaskLists", "task_filter"]

logger = logging.getLogger(__name__)

IDS_PER_ADDRESS = 200
"""Keeps addresses well below the 8 kB that proxies accept."""

SLOW_SECONDS = 600.0
"""For a list or an import of many thousand tasks: ten times what another answer may take; not measured."""
_MOST_WITHHELD = 100
"""So many tasks of a list are looked for that Label Studio fails in giving; more are a fault of the server."""
_NUMBER = re.compile(r"-?\d{1,15}(\.\d{1,6})?", re.ASCII)


def task_filter(column: str, operator: str, value: float) -> dict[str, Any]:
    """Return the filter of the Data Manager that compares a number of each task."""
    return {"filter": f"filter:tasks:{column}", "operator": operator, "type": "Number", "value": value}


@dataclass(frozen=True, slots=True)
class FoundTasks:
    """Tasks that were found by a field of their data.

    Attributes
    ----------
    data
        The data of each, the last task first.
    total
        How many there are.
    """

    data: dict[int, dict[str, Any]]
    total: int


class TaskLists:
    """Asks for tasks. One whose data is no text makes Label Studio fail in giving any list that holds it.

    Parameters
    ----------
    session
        What carries the requests.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._withheld: dict[int, set[int]] = {}

    def ask(
        self,
        project_id: int,
        fields: str,
        query: dict[str, Any],
        size: int,
        *,
        with_answers: bool = False,
        repeatable: bool = True,
    ) -> tuple[list[Any], int]:
        """Return the first tasks that match a query, at most ``size``, and how many match it."""
        params: dict[str, str | int] = {
            "project": project_id,
            "page_size": size,
            "include": fields,
            "resolve_uri": "false",
            # As for review: otherwise a project that evaluates predictions automatically would call the
            # backend for every task of the list.
            "review": "true",
            "query": json.dumps(query, separators=(",", ":")),
        }
        if with_answers:
            params["fields"] = "all"
        reply = self._session.request("GET", "api/tasks/", params=params, time_out=SLOW_SECONDS, repeatable=repeatable)
        return reply["tasks"], int(reply["total"]) if reply["tasks"] else 0

    def with_value(
        self, project_id: int, field: str, value: str, size: int, time_out: float, *, whole: bool
    ) -> FoundTasks:
        """Return the last tasks with a value in a field of their data.

        It may name a patient, so it stands in the body: Label Studio and what lies before it log addresses. A proxy may
        drop the body: then all tasks match, so what is returned must be compared with what was asked for.

        Parameters
        ----------
        field
            Its name, by dots within other fields.
        time_out
            Seconds that the answer may take; it is asked for once.
        whole
            Whether they have exactly that value, or one that contains it in letters of either case.

        Raises
        ------
        LabelStudioFaultError
            When the answer is none.
        """
        # Label Studio takes what follows "data." for Django's path, in which two underscores lead into a field.
        columns = [f"filter:tasks:data.{name}" for name in dict.fromkeys([field.replace(".", "__"), field])]
        same: dict[str, Any] = {"operator": "equal" if whole else "contains", "type": "String", "value": value}
        items = [{"filter": column} | same for column in columns]
        if whole and _NUMBER.fullmatch(value):  # a number in the data is equal to no text
            # As "Number" Label Studio would not look within fields, nor PostgreSQL where a task has text there.
            same = {"operator": "equal", "type": "String", "value": float(value)}
            items += [{"filter": column} | same for column in columns]
        params: dict[str, str | int] = {
            "project": project_id,
            "page_size": size,
            "include": "id,data",
            "resolve_uri": "false",
            "review": "true",
        }
        query = {"filters": {"conjunction": "or", "items": items}, "ordering": ["-tasks:id"]}
        reply = self._session.request(
            "GET", "api/tasks/", params=params, json=query, time_out=time_out, repeatable=False
        )
        try:
            return FoundTasks({int(task["id"]): dict(task["data"]) for task in reply["tasks"]}, int(reply["total"]))
        except (LookupError, TypeError, ValueError):
            raise LabelStudioFaultError(
                "Label Studio answers a search in a form that is not understood.",
                "See whether a proxy before it answers in its place.",
            ) from None

    def read(
        self, project_id: int, fields: str, query: dict[str, Any], size: int, *, with_answers: bool = False
    ) -> tuple[list[Any], int]:
        """Return what :meth:`ask` does; of tasks that Label Studio fails in giving, the id and that they are withheld.

        Raises
        ------
        LabelStudioFaultError
            When there are too many of them.
        """
        known = self._withheld.get(project_id, set())
        try:
            return self.ask(project_id, fields, query, size, with_answers=with_answers, repeatable=not known)
        except LabelStudioFaultError as error:
            ids, total = self.ask(project_id, "id", query, size)
            wanted = [int(task["id"]) for task in ids]
            parts = [wanted[place : place + IDS_PER_ADDRESS] for place in range(0, len(wanted), IDS_PER_ADDRESS)]
            found: list[Any] = []
            withheld: set[int] = set()
            for part in parts:
                apart = [[task] for task in part if task in known]
                for some in [[task for task in part if task not in known], *apart]:
                    found += self._halves(project_id, fields, some, with_answers, withheld, error)
            self._withheld[project_id] = known.difference(wanted) | withheld
            if not withheld <= known:
                logger.warning("Project %d: Label Studio fails in giving %d tasks", project_id, len(withheld))
            return sorted(found, key=lambda task: int(task["id"])), total

    def _halves(
        self,
        project_id: int,
        fields: str,
        ids: Sequence[int],
        with_answers: bool,
        withheld: set[int],
        fault: LabelStudioFaultError,
    ) -> list[Any]:
        """Return these tasks, halved as often as Label Studio fails in giving them."""
        if not ids:
            return []
        query = {"selectedItems": {"all": False, "included": list(ids)}, "ordering": ["tasks:id"]}
        try:
            page, total = self.ask(project_id, fields, query, len(ids), with_answers=with_answers, repeatable=False)
        except LabelStudioFaultError:
            if len(ids) == 1:
                withheld.add(ids[0])
                if len(withheld) > _MOST_WITHHELD:
                    raise fault from None
                return [{"id": ids[0], "withheld": True}]
            middle = len(ids) // 2
            parts = [ids[:middle], ids[middle:]]
        else:
            if len(page) >= total:
                return page
            last = max(int(task["id"]) for task in page)  # a server may cap its pages below what was asked for
            return page + self._halves(
                project_id, fields, [task for task in ids if task > last], with_answers, withheld, fault
            )
        return [task for p in parts for task in self._halves(project_id, fields, p, with_answers, withheld, fault)]
