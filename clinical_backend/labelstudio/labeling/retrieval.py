"""A project's labels, read back from Label Studio."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from clinical_backend.errors import LabelStudioRefusedError
from clinical_backend.labelstudio.labeling.labels import read_labels

if TYPE_CHECKING:
    from collections.abc import Collection

    from clinical_backend.labelstudio.client import LabelStudioClient
    from clinical_backend.labelstudio.labeling.labels import Labels
    from clinical_backend.labelstudio.labeling.scheme import LabelingScheme
    from clinical_backend.labelstudio.resources import Project

__all__ = ["fetch_labels", "fetch_labels_apart"]


def fetch_labels(client: LabelStudioClient, project: Project, scheme: LabelingScheme, *, stars: bool = False) -> Labels:
    """Read a project's answers and combine them as :func:`read_labels` does, with skips as the project treats them."""
    return fetch_labels_apart(client, project, scheme, (), stars=stars)[0]


def fetch_labels_apart(
    client: LabelStudioClient,
    project: Project,
    scheme: LabelingScheme,
    apart: Collection[int],
    *,
    stars: bool = False,
) -> tuple[Labels, Labels]:
    """Return what :func:`fetch_labels` does, of all tasks but some, and of these, which tell the others nothing.

    Parameters
    ----------
    apart
        The tasks that are read by themselves.
    """
    tasks = client.annotated_tasks(project.id)
    others: Collection[int] = ()
    refused = None
    if project.skip_queue == "REQUEUE_FOR_OTHERS":  # REQUEUE_FOR_ME gives a skip back to its own reader, and last
        try:
            others = client.user_ids()
        except LabelStudioRefusedError as error:
            refused = error.problem
    within = [task for task in tasks if task.id not in apart]
    among = [task for task in tasks if task.id in apart]
    labels, by_themselves = (
        read_labels(scheme, part, stars=stars, offered_again=others, counted=within) for part in (within, among)
    )
    return replace(labels, users_refused=refused), by_themselves
