"""How a project serves its tasks: whether the queue is followed, and what readers see of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clinical_backend.labelstudio.connection.checks import CONNECT, Change, CheckResult, Place, Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clinical_backend.labelstudio.client import LabelStudioClient
    from clinical_backend.labelstudio.connection.checks import Wanted
    from clinical_backend.labelstudio.resources import Project

__all__ = ["SAMPLING", "check_serving", "correct_serving"]

SAMPLING = "Uncertainty sampling"


def check_serving(project: Project) -> Iterator[CheckResult]:
    """Check the settings that decide in which order tasks are served, and with what."""
    connect = CONNECT.format(project=project.id)
    if project.sampling == SAMPLING:
        yield CheckResult("sampling", Status.OK, f"{SAMPLING!r} follows the queue.")
    else:
        yield CheckResult(
            "sampling",
            Status.ERROR,
            f"The sampling is {project.sampling!r}, which does not follow the queue.",
            connect,
            place=Place.SAMPLING,
            found=project.sampling,
            deliberate=True,
            repair=_follow_queue,
        )
    if project.maximum_annotations > 1:
        yield CheckResult(
            "annotations per task",
            Status.WARNING,
            f"Each task needs {project.maximum_annotations} annotations: Label Studio first serves those that"
            " have some, at random.",
            "Set annotations per task to 1 in the project's settings for the order of the queue.",
        )
    if not project.show_collab_predictions:
        yield CheckResult(
            "predictions",
            Status.WARNING,
            "Predictions are hidden from readers, and with them the reasons and what PREANNOTATE ticks.",
            connect,
            place=Place.SHOWN,
            found="hidden",
            deliberate=True,
            repair=_show_predictions,
        )
    if project.evaluate_predictions_automatically:
        yield CheckResult(
            "predictions",
            Status.WARNING,
            "Label Studio asks for predictions whenever a page of the Data Manager is opened, which is slow, and looks"
            " like Retrieve predictions.",
            "Set evaluate_predictions_automatically to false.",
        )


def correct_serving(client: LabelStudioClient, project: Project, wanted: Wanted) -> Iterator[Change]:
    """Set what this backend sets, and advise the rest."""
    for result in check_serving(project):
        if result.repair is not None:
            yield from result.repair(client, project.id, wanted)
        elif result.cure:
            yield Change(result.check, f"{result.message} {result.cure}", made=False)


def _follow_queue(client: LabelStudioClient, project_id: int, _: Wanted) -> Iterator[Change]:
    client.update_project(project_id, sampling=SAMPLING)
    yield Change("sampling", f"Set to {SAMPLING!r}, which follows the queue.")


def _show_predictions(client: LabelStudioClient, project_id: int, _: Wanted) -> Iterator[Change]:
    client.update_project(project_id, show_collab_predictions=True)
    yield Change("predictions", "Shown to readers, as PREANNOTATE allows.")
