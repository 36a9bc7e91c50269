"""What settings that are not saved would change, for people: counts by draw, and a few cases that come and go."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from clinical_backend.errors import ClinicalError
from clinical_backend.jobs.settings_preview import LONGEST_PREVIEW
from clinical_backend.origins import DRAWS_OF_QUEUE, Draw
from clinical_backend.rounds.queue_preview import changes_of
from clinical_backend.web.pages.settings_form import in_words
from clinical_backend.workspace.settings_preview_files import load_answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clinical_backend.storage.schema import Round
    from clinical_backend.web.pages.site import Site
    from clinical_backend.workspace.settings_preview_files import PreviewAnswer, PreviewedTask, PreviewQuestion

__all__ = ["effect_of", "refusal"]

_DRAWS = DRAWS_OF_QUEUE | {Draw.AUDIT: "drawn at random"}
_NOT_LOOKED_FOR = "Classes that are not looked for"
_SHOWN = 6
"""Cases of each kind: one row on a wide screen."""
_START_SECONDS = 15.0
"""To start a process and load a backbone, where others keep the machine busy; not measured apart."""
_MOST_WAITING = 10_000
"""More than the longest queue with its second readings."""


def effect_of(site: Site, project_id: int, question: PreviewQuestion) -> dict[str, Any]:
    """Return what is known by now of what settings would change, as the template has it."""
    project, row = site.workspace.project(project_id), site.project(project_id)
    asked: dict[str, Any] = {"key": question.key, "asked_at": question.asked_at, "saved": False, "ordering": True}
    try:
        changes = changes_of(project, row, question)
    except ClinicalError as error:
        return refusal(str(error)) | asked
    asked |= {"read": _called(changes.read), "beside": _called(changes.beside), "ordering": bool(changes.ordering)}
    asked["saved"] = not any(changes)
    answer = load_answer(project.settings_preview_folder, question.key)
    published = site.stores.rounds.published(project_id)
    if not changes.ordering:
        return asked | {"state": "told"}
    if answer is None:
        gone = time.time() - question.asked_at > LONGEST_PREVIEW + 4 * _START_SECONDS
        if gone or not site.settings_previews.attend(project_id):
            return asked | {"state": "cut off"}
        return asked | {"state": "working", "expected": _expected(published), "longest": LONGEST_PREVIEW}
    if answer.problem is not None or published is None:
        return refusal(answer.problem or "") | asked
    return asked | {"state": "told"} | _told(site, published, answer)


def refusal(problem: str) -> dict[str, Any]:
    """Return what is shown where what settings would change cannot be told."""
    return {"key": "", "state": "refused", "problem": problem, "read": [], "beside": []}


def _called(names: Sequence[str]) -> list[str]:
    return [_NOT_LOOKED_FOR if name == "declined" else in_words(name, None)[0] for name in names]


def _expected(published: Round | None) -> float:
    """Return how many seconds it may take: as long as the last round learnt and ordered, for either settings."""
    seconds = {} if published is None else published.report.seconds
    return _START_SECONDS + 2 * (seconds.get("fit", 0.0) + seconds.get("rank", 0.0))


def _told(site: Site, published: Round, answer: PreviewAnswer) -> dict[str, Any]:
    waiting, _ = site.stores.rounds.open_queue(published, limit=_MOST_WAITING)
    open_readings = len(site.stores.second_readings.open_tasks(published.project_id))
    now = Counter([*(one.draw for one in waiting), *([None] * open_readings)])
    as_set, wanted = (Counter(one.draw for one in tasks) for tasks in (answer.as_set, answer.with_these))
    come, go = _missing(answer.with_these, answer.as_set), _missing(answer.as_set, answer.with_these)
    here, there = ({one.task_id for one in tasks} for tasks in (answer.with_these, answer.as_set))
    stand = {one.task_id for one in waiting}
    return {
        "number": answer.number,
        "seconds": answer.seconds,
        "test_set": answer.test_set,
        "older": published.version != answer.version,
        "size": len(answer.with_these),
        "size_as_set": len(answer.as_set),
        "others": len(come),
        "reordered": not come and not go and answer.with_these != answer.as_set,
        "waiting": len(stand),
        "stay": len(stand & here),
        "stay_as_set": len(stand & there),
        "rows": [
            (_in_words(draw).capitalize(), now[draw], as_set[draw], wanted[draw])
            for draw in (*_DRAWS, None)
            if now[draw] or as_set[draw] or wanted[draw]
        ],
        "reasons": answer.reasons,
        "come": _some(come),
        "go": _some(go),
    }


def _in_words(draw: Draw | None) -> str:
    return "read again" if draw is None else _DRAWS[draw]


def _missing(tasks: Sequence[PreviewedTask], others: Sequence[PreviewedTask]) -> list[PreviewedTask]:
    """Return the tasks of a queue that another one does not hold, in their order."""
    known = {one.task_id for one in others}
    return [one for one in tasks if one.task_id not in known]


def _some(tasks: Sequence[PreviewedTask]) -> list[tuple[int, str]]:
    """Return the first tasks of a queue with their draws in words; random draws behind those that were chosen."""
    ordered = sorted(tasks, key=lambda one: one.draw is Draw.AUDIT)
    return [(one.task_id, _in_words(one.draw)) for one in ordered[:_SHOWN]]
