"""Which installation of this backend serves a project: two would delete each other's queues.

Each puts its id into a header of the webhook that it has in the project. The one whose webhook is the oldest serves it;
every other one stands back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from clinical_backend.errors import InstallationError
from clinical_backend.labelstudio.urls import same_url, webhook_url
from clinical_backend.text import printable
from clinical_backend.versions import author_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from clinical_backend.labelstudio.resources import Project, Webhook

__all__ = ["HEADER", "Installation", "claim_of", "without_claim"]

HEADER = "X-Clinical-Installation"

_TAKE_OVER = "`clinical connect --project {project} --take-over`"


@dataclass(frozen=True, slots=True)
class Installation:
    """All that works with one database, on however many machines and at whatever address.

    Attributes
    ----------
    id
        Public id of the database.
    versions
        The ``model_version`` of all that it published in a project.
    """

    id: str
    versions: frozenset[str] = field(default=frozenset(), repr=False)

    def require_alone(self, project: Project, hooks: Iterable[Webhook], backend_url: str) -> None:
        """Make sure that no other installation serves a project.

        A queue of this backend that nobody lays claim to was left by an installation that was disconnected, if it names
        one, and otherwise may be that of an earlier release that still runs.

        Parameters
        ----------
        project
            The project, as it is now.
        hooks
            All its webhooks.
        backend_url
            Address of this backend as Label Studio reaches it.

        Raises
        ------
        InstallationError
            When one does.
        """
        claims = sorted((hook.id, hook.url, claim) for hook in hooks if (claim := claim_of(hook)))
        if claims:
            _, url, claim = claims[0]
            if claim != self.id:
                raise _served(project.id, url, same_url(url, webhook_url(backend_url)))
        elif project.model_version not in self.versions and author_of(project.model_version) == "":
            raise InstallationError(
                f"Project {project.id} is served the queue {printable(project.model_version)!r}, which another"
                " installation of this backend published: this one publishes and deletes nothing there.",
                "If it still runs, stop it or remove the project's connection with it. Then run"
                f" {_TAKE_OVER.format(project=project.id)}.",
            )


def claim_of(hook: Webhook) -> str | None:
    """Return the id of the installation that a webhook belongs to; ``None`` where it bears none."""
    return next((value.strip() for key, value in hook.headers.items() if key.lower() == HEADER.lower()), None) or None


def without_claim(headers: Mapping[str, str], *more: str) -> dict[str, str]:
    """Return headers without the installation's, and without others, given in lower case."""
    left_out: Sequence[str] = (HEADER.lower(), *more)
    return {key: value for key, value in headers.items() if key.lower() not in left_out}


def _served(project_id: int, url: str, here: bool) -> InstallationError:
    if here:
        return InstallationError(
            f"Project {project_id} was connected at this address by an installation with another database:"
            " this one publishes and deletes nothing there.",
            "Give it that database again (DATABASE_URL, or MODEL_DIR). If it is lost, or another backend has the same"
            f" BACKEND_URL by mistake and is corrected, run {_TAKE_OVER.format(project=project_id)}.",
        )
    return InstallationError(
        f"Project {project_id} is served by another installation of this backend, whose webhook goes to"
        f" {printable(url)}: this one publishes and deletes nothing there, since each would delete the other's queues.",
        "Remove this backend from the project in Label Studio. If it is to serve the project instead, run"
        f" {_TAKE_OVER.format(project=project_id)}, or remove the other one's webhook under Settings > Webhooks.",
    )
