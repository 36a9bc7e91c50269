"""What connecting changes in a project, as it was before, to be put back where connecting does not come to its end."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clinical_backend.errors import ClinicalError
from clinical_backend.labelstudio.connection.installation import claim_of
from clinical_backend.labelstudio.tabs import ORDINARY_TITLE, QUEUE_TITLE
from clinical_backend.labelstudio.urls import same_url, webhook_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from clinical_backend.labelstudio.client import LabelStudioClient
    from clinical_backend.labelstudio.resources import Backend, Project, View, Webhook

__all__ = ["ProjectState"]

logger = logging.getLogger(__name__)

_PROJECT = ("label_config", "sampling", "show_collab_predictions")
_WEBHOOK = ("headers", "is_active", "send_payload", "send_for_all_actions")
_BACKEND = ("title", "is_interactive", "auth_method", "basic_auth_user")


@dataclass(frozen=True, slots=True)
class ProjectState:
    """A project, its webhooks, its backends and its tabs at one moment.

    Attributes
    ----------
    hooks, entries
        All of the project; only those of this backend, and webhooks that bear an installation's id, are put back.
    """

    project: Project
    hooks: tuple[Webhook, ...]
    entries: tuple[Backend, ...]
    views: tuple[View, ...]
    backend_url: str

    @classmethod
    def read(cls, client: LabelStudioClient, project_id: int, backend_url: str) -> ProjectState:
        """Read it; Label Studio calls ``/setup`` of the backends that are entered already."""
        return cls(
            client.project(project_id),
            tuple(client.webhooks(project_id)),
            tuple(client.backends(project_id)),
            tuple(client.views(project_id)),
            backend_url,
        )

    def put_back(self, client: LabelStudioClient) -> list[str]:
        """Bring the project back to this state, whatever was done of it since.

        What differs is found by reading, since a request that failed may have been carried out all the same. The
        password of an entry that was corrected is the only thing that Label Studio does not tell: it stays corrected.

        Returns
        -------
        list of str
            What could not be put back, in words.
        """
        # The webhook first: until it is gone, each of the other changes would be told to the backend.
        parts: dict[str, Callable[[LabelStudioClient], None]] = {
            "its webhooks": self._put_back_hooks,
            "its backends": self._put_back_entries,
            "its settings": self._put_back_project,
            "its tabs": self._put_back_views,
        }
        left = []
        for name, put_back in parts.items():
            try:
                put_back(client)
            except ClinicalError as error:
                logger.warning("Project %d, %s: %s", self.project.id, name, error)
                left.append(name)
        return left

    def _put_back_hooks(self, client: LabelStudioClient) -> None:
        before = {hook.id: hook for hook in self.hooks if self._concerns(hook)}
        now = {hook.id: hook for hook in client.webhooks(self.project.id)}
        for identifier, hook in now.items():
            if identifier not in before and same_url(hook.url, webhook_url(self.backend_url)):
                client.delete_webhook(identifier)
        for identifier, hook in before.items():
            fields = {name: getattr(hook, name) for name in _WEBHOOK}
            if identifier not in now:
                client.create_webhook(self.project.id, hook.url, **fields)
            elif changed := _changed(hook, now[identifier], _WEBHOOK):
                client.update_webhook(identifier, **changed)

    def _put_back_entries(self, client: LabelStudioClient) -> None:
        before = {entry.id: entry for entry in self.entries if same_url(entry.url, self.backend_url)}
        now = {
            entry.id: entry
            for entry in client.backends(self.project.id)
            if same_url(entry.url, self.backend_url) or entry.id in before
        }
        for identifier in now.keys() - before.keys():
            client.delete_backend(identifier)
        for identifier, entry in before.items():
            if identifier not in now:
                fields = {name: getattr(entry, name) for name in _BACKEND}
                client.add_backend(self.project.id, entry.url, extra_params=entry.extra_params, **fields)
            elif changed := _changed(entry, now[identifier], _BACKEND):
                kept = {"basic_auth_user": entry.basic_auth_user, "basic_auth_pass": ""}  # empty: the one it has
                client.update_backend(entry, **(kept if entry.auth_method == "BASIC_AUTH" else {}), **changed)

    def _put_back_project(self, client: LabelStudioClient) -> None:
        now = client.project(self.project.id)
        if changed := _changed(self.project, now, _PROJECT):
            now = client.update_project(self.project.id, **changed)
        # Last: Label Studio empties it with some of the others.
        if now.model_version != self.project.model_version:
            client.update_project(self.project.id, model_version=self.project.model_version)

    def _put_back_views(self, client: LabelStudioClient) -> None:
        known = {view.id for view in self.views}
        for view in client.views(self.project.id):
            if view.id not in known and view.title in {ORDINARY_TITLE, QUEUE_TITLE}:
                client.delete_view(view.id)

    def _concerns(self, hook: Webhook) -> bool:
        return same_url(hook.url, webhook_url(self.backend_url)) or claim_of(hook) is not None


def _changed(before: object, now: object, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(before, name) for name in names if getattr(before, name) != getattr(now, name)}
