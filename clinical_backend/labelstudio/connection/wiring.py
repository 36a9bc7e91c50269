"""The single steps of connecting a project: each leaves alone what is right already, and tells what it changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clinical_backend.errors import LabelStudioRefusedError
from clinical_backend.labelstudio.authentication import basic_authorization
from clinical_backend.labelstudio.connection.installation import HEADER, claim_of, without_claim
from clinical_backend.labelstudio.labeling.scheme import with_exemplar_control
from clinical_backend.labelstudio.tabs import QUEUE_TITLE, show_queue
from clinical_backend.labelstudio.urls import same_url, webhook_url
from clinical_backend.text import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clinical_backend.labelstudio.client import LabelStudioClient
    from clinical_backend.labelstudio.connection.installation import Installation
    from clinical_backend.labelstudio.labeling.scheme import LabelingScheme
    from clinical_backend.labelstudio.records import Backend, Project, Webhook

__all__ = [
    "ADDRESS_CURE",
    "SAMPLING",
    "TITLE",
    "Change",
    "add_exemplars",
    "add_tab",
    "correct_model_version",
    "correct_settings",
    "correct_webhook",
    "enter_backend",
    "without_duplicate_webhooks",
    "without_duplicates",
    "without_others",
]

SAMPLING = "Uncertainty sampling"
TITLE = "Clinical"


ADDRESS_CURE = (
    "Give Label Studio's own process LABEL_STUDIO_ML_BLOCK_LOCAL_IP=false and"
    " LABEL_STUDIO_SSRF_PROTECTION_ENABLED=false and restart it, or give the backend a public address."
    " Both are needed for loopback, private and compose-network addresses."
)


@dataclass(frozen=True, slots=True)
class Change:
    """One step of connecting.

    Attributes
    ----------
    setting
        What it is about.
    detail
        What was done, or what a person should do, as a sentence.
    made
        Whether it was done; otherwise it is advice.
    """

    setting: str
    detail: str
    made: bool = True

    def __str__(self) -> str:
        return f"{self.setting}: {self.detail}"


def add_exemplars(
    client: LabelStudioClient, project: Project, scheme: LabelingScheme, *, add: bool, exemplar_control: str
) -> Iterator[Change]:
    """Add the control that tags exemplars to the labeling config, or advise it."""
    if scheme.exemplar_control is not None:
        return
    if add:
        extended = with_exemplar_control(project.label_config, exemplar_control, scheme.class_control)
        client.update_project(project.id, label_config=extended)
        yield Change("labeling config", f"Added the control {exemplar_control!r} for tagging exemplars.")
    else:
        yield Change(
            "labeling config",
            f"Readers have no control {exemplar_control!r} for tagging exemplars; let it be added, or name what to"
            " look for.",
            made=False,
        )


def correct_settings(client: LabelStudioClient, project: Project) -> Iterator[Change]:
    """Have the queue followed, and predictions shown."""
    if project.sampling != SAMPLING:
        client.update_project(project.id, sampling=SAMPLING)
        yield Change("sampling", f"Set to {SAMPLING!r} (was {project.sampling!r}), which follows the queue.")
    if not project.show_collab_predictions:
        client.update_project(project.id, show_collab_predictions=True)
        yield Change("predictions", "Shown to readers, as PREANNOTATE allows.")
    if project.maximum_annotations > 1:
        yield Change(
            "annotations per task",
            f"Label Studio serves tasks at random while each needs {project.maximum_annotations} annotations"
            " and some have fewer; set it to 1 for the order of the queue.",
            made=False,
        )


def correct_webhook(
    client: LabelStudioClient,
    project_id: int,
    backend_url: str,
    basic_auth: tuple[str, str] | None,
    installation: Installation | None = None,
) -> Iterator[Change]:
    """Make sure that a webhook sends every event with its payload, and bears login and installation."""
    address = webhook_url(backend_url)
    login = {} if basic_auth is None else {"Authorization": basic_authorization(*basic_auth)}
    headers = login if installation is None else login | {HEADER: installation.id}
    wanted: dict[str, Any] = {"is_active": True, "send_payload": True, "send_for_all_actions": True}
    found = _hooks(client, project_id, backend_url)
    if not found:
        try:
            client.create_webhook(project_id, address, headers=headers, **wanted)
        except LabelStudioRefusedError as error:
            raise _blocked(error, backend_url) from error
        yield Change("webhook", f"Added: all events go to {address}.")
        return
    first = found[0]
    claim = {} if installation is not None or claim_of(first) is None else {HEADER: str(claim_of(first))}
    wanted_headers = without_claim(first.headers, "authorization") | claim | headers
    if first.headers != wanted_headers or any(getattr(first, key) != value for key, value in wanted.items()):
        client.update_webhook(first.id, headers=wanted_headers, **wanted)
        yield Change("webhook", f"Corrected: all events go to {address}, with this backend's credentials.")


def enter_backend(
    client: LabelStudioClient,
    project_id: int,
    backend_url: str,
    basic_auth: tuple[str, str] | None,
    title: str = TITLE,
) -> Iterator[Change]:
    """Make sure that the backend is entered in a project, with its login."""
    fields: dict[str, Any] = {"title": title, "is_interactive": False, **_authentication_fields(basic_auth)}
    found = _entries(client, project_id, backend_url)
    if not found:
        try:
            client.add_backend(project_id, backend_url, **fields)
        except LabelStudioRefusedError as error:
            for entry in _entries(client, project_id, backend_url):
                client.delete_backend(entry.id)
            raise _blocked(error, backend_url) from error
        yield Change("backend", f"Added {title!r} at {backend_url}.")
        return
    first = found[0]
    differs = any(getattr(first, key) != value for key, value in fields.items() if key != "basic_auth_pass")
    # A stored password cannot be read back, so it is written every time.
    if differs or basic_auth is not None:
        try:
            client.update_backend(first, **fields)
        except LabelStudioRefusedError as error:
            raise _blocked(error, backend_url) from error
    if differs:
        yield Change("backend", f"Corrected {title!r} at {backend_url}.")


def without_others(
    client: LabelStudioClient, project_id: int, backend_url: str, installation: Installation | None
) -> Iterator[Change]:
    """Let webhooks of other installations, and of this one at an earlier address, send nothing and claim nothing."""
    if installation is None:
        return
    for hook in client.webhooks(project_id):
        if claim_of(hook) is None or same_url(hook.url, webhook_url(backend_url)):
            continue
        client.update_webhook(hook.id, headers=without_claim(hook.headers), is_active=False)
        whose = "this backend's earlier address" if claim_of(hook) == installation.id else "another installation"
        yield Change("webhook", f"Switched the one of {whose} off, which went to {shown(hook.url)}.")


def without_duplicates(client: LabelStudioClient, project_id: int, backend_url: str) -> Iterator[Change]:
    """Remove what is there twice; at the end, since an entry's password could not be put back."""
    for entry in (entries := _entries(client, project_id, backend_url))[1:]:
        client.delete_backend(entry.id)
    if len(entries) > 1:
        yield Change("backend", f"Removed {len(entries) - 1} duplicates of it.")
    yield from without_duplicate_webhooks(client, project_id, backend_url)


def without_duplicate_webhooks(client: LabelStudioClient, project_id: int, backend_url: str) -> Iterator[Change]:
    """Remove webhooks that go to this backend too, but for the oldest."""
    for hook in (hooks := _hooks(client, project_id, backend_url))[1:]:
        client.delete_webhook(hook.id)
    if len(hooks) > 1:
        yield Change("webhook", f"Removed {len(hooks) - 1} duplicates, which sent every event again.")


def _hooks(client: LabelStudioClient, project_id: int, backend_url: str) -> list[Webhook]:
    address = webhook_url(backend_url)
    found = [hook for hook in client.webhooks(project_id) if same_url(hook.url, address)]
    return sorted(found, key=lambda hook: hook.id)


def _entries(client: LabelStudioClient, project_id: int, backend_url: str) -> list[Backend]:
    found = [entry for entry in client.backends(project_id) if same_url(entry.url, backend_url)]
    return sorted(found, key=lambda entry: entry.id)


def _authentication_fields(basic_auth: tuple[str, str] | None) -> dict[str, str]:
    if basic_auth is None:
        # Label Studio sends stored credentials whatever the method says, unless the user is empty.
        return {"auth_method": "NONE", "basic_auth_user": ""}
    user, password = basic_auth
    return {"auth_method": "BASIC_AUTH", "basic_auth_user": user, "basic_auth_pass": password}


def _blocked(error: LabelStudioRefusedError, backend_url: str) -> LabelStudioRefusedError:
    """Say what to do when Label Studio refuses the backend's address, or does not reach it."""
    problem = error.problem.lower()
    if "enter a valid url" in problem:
        return LabelStudioRefusedError(
            f"Label Studio sends no webhooks to {backend_url}: it takes a host's name with a dot, localhost, or an"
            " address.",
            "Give BACKEND_URL such a name; in a compose network, give the backend's service an alias as"
            " backend.internal.",
            status=error.status,
        )
    if "authentication parameters" in problem:
        return LabelStudioRefusedError(
            f"The backend at {backend_url} refuses Label Studio's login. {error.problem}",
            "Give this command the same BASIC_AUTH_USER and BASIC_AUTH_PASS as the backend.",
            status=error.status,
        )
    if "health check failed" in problem:
        return LabelStudioRefusedError(
            f"Label Studio does not reach the backend at {backend_url}. {error.problem}",
            "Start the backend first, and give BACKEND_URL the address by which Label Studio's machine"
            " reaches it; inside a container, localhost is the container itself.",
            status=error.status,
        )
    if error.status == 403 or any(word in problem for word in ("ssrf", "blocked", "not allowed", "local")):
        return LabelStudioRefusedError(
            f"Label Studio refuses the address {backend_url}. {error.problem}",
            f"{ADDRESS_CURE} If it is allowed already, use the token of a user who may edit the project.",
            status=error.status,
        )
    return error


def correct_model_version(
    client: LabelStudioClient, project_id: int, published_version: str | None
) -> Iterator[Change]:
    """Point the project to the published queue, and away from the backend's title, which orders nothing."""
    current = client.project(project_id).model_version
    versions = client.model_versions(project_id)
    if published_version is not None and published_version in versions:
        wanted = published_version
    else:
        wanted = current if current in versions else ""
    if current != wanted:
        client.update_project(project_id, model_version=wanted)
        detail = f"Set to the published queue {wanted!r}" if wanted else "Emptied until a queue is published"
        yield Change("model version", f"{detail} (was {current!r}).")


def add_tab(client: LabelStudioClient, project_id: int) -> Iterator[Change]:
    """Add a tab to the Data Manager that shows the queue in its order."""
    if show_queue(client, project_id):
        yield Change("data manager", f"Added the tab {QUEUE_TITLE!r}, which shows the queue in its order.")
