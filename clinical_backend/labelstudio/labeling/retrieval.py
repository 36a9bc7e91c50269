"""A project's labels, read back from Label Studio."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from clinical_backend.errors import LabelStudioRefusedError
from clinical_backend.labelstudio.labeling.labels import read_labels
from clinical_backend.labelstudio.labeling.reader_answers import names_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from clinical_backend.labelstudio.client import LabelStudioClient
    from clinical_backend.labelstudio.labeling.labels import Labels
    from clinical_backend.labelstudio.labeling.scheme import LabelingScheme
    from clinical_backend.labelstudio.resources import Project, User

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
    by_reader: bool = False,
    names: bool = False,
) -> tuple[Labels, Labels]:
    """Return what :func:`fetch_labels` does, of all tasks but some, and of these, which tell the others nothing.

    Parameters
    ----------
    apart
        The tasks that are read by themselves.
    by_reader
        Whether to return each annotation of a reader too.
    names
        Whether to ask what readers are called, also where nothing else needs the list of users.
    """
    tasks = client.annotated_tasks(project.id)
    users: list[User] | None = None
    refused = None
    offered = project.skip_queue == "REQUEUE_FOR_OTHERS"  # REQUEUE_FOR_ME gives a skip back to its own reader, and last
    if offered or names:
        try:
            users = client.users()
        except LabelStudioRefusedError as error:
            refused = error.problem
    others = [user.id for user in users or ()] if offered else []
    within = [task for task in tasks if task.id not in apart]
    among = [task for task in tasks if task.id in apart]
    labels, by_themselves = (
        read_labels(scheme, part, stars=stars, offered_again=others, counted=within, by_reader=by_reader)
        for part in (within, among)
    )
    called = None if users is None else names_of(users)
    return replace(labels, users_refused=refused if offered else None, names=called), by_themselves
