"""The webhook by which a project tells this backend of events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clinical_backend.errors import LabelStudioRefusedError
from clinical_backend.labelstudio.authentication import basic_authorization
from clinical_backend.labelstudio.connection.checks import ADDRESS_CURE, CONNECT, Change, CheckResult, Place, Status
from clinical_backend.labelstudio.connection.installation import HEADER, claim_of, without_claim
from clinical_backend.labelstudio.connection.refused import explain_refusal
from clinical_backend.labelstudio.urls import same_url, webhook_url
from clinical_backend.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from clinical_backend.labelstudio.client import LabelStudioClient
    from clinical_backend.labelstudio.connection.checks import Wanted
    from clinical_backend.labelstudio.resources import Webhook

__all__ = ["check_webhook", "correct_webhook", "disable_others", "hooks_of", "remove_duplicate_webhooks"]


def hooks_of(hooks: Iterable[Webhook], backend_url: str) -> list[Webhook]:
    """Return those of a project's webhooks that go to this backend, the oldest first."""
    address = webhook_url(backend_url)
    return sorted((hook for hook in hooks if same_url(hook.url, address)), key=lambda hook: hook.id)


def check_webhook(project_id: int, hooks: Iterable[Webhook], wanted: Wanted) -> CheckResult:
    """Check that one webhook sends every event, with login and installation."""
    connect, address = CONNECT.format(project=project_id), webhook_url(wanted.backend_url)
    ours = hooks_of(hooks, wanted.backend_url)
    if not ours:
        return CheckResult(
            "webhook",
            Status.ERROR,
            f"No webhook goes to {address}: the backend does not hear of annotations.",
            f"{connect} If that is refused: {ADDRESS_CURE}",
            place=Place.WEBHOOK,
            found="none",
            repair=_restore,
        )
    status, wrong = _examine(ours[0], wanted)
    if wrong:
        message = f"The webhook to {address} {wrong}."
    elif len(ours) > 1:
        status, wrong, message = Status.WARNING, "twice", f"{len(ours)} webhooks send each event to {address}."
    else:
        return CheckResult("webhook", Status.OK, f"All events go to {ours[0].url}.")
    cure = "" if status is Status.OK else connect
    return CheckResult("webhook", status, message, cure, place=Place.WEBHOOK, found=wrong, repair=_restore)


def correct_webhook(client: LabelStudioClient, project_id: int, wanted: Wanted) -> Iterator[Change]:
    """Make sure that a webhook sends every event with its payload, and bears login and installation."""
    address, installation = webhook_url(wanted.backend_url), wanted.installation
    login = {} if wanted.basic_auth is None else {"Authorization": basic_authorization(*wanted.basic_auth)}
    headers = login if installation is None else login | {HEADER: installation.id}
    fields: dict[str, Any] = {"is_active": True, "send_payload": True, "send_for_all_actions": True}
    found = hooks_of(client.webhooks(project_id), wanted.backend_url)
    if not found:
        try:
            client.create_webhook(project_id, address, headers=headers, **fields)
        except LabelStudioRefusedError as error:
            raise explain_refusal(error, wanted.backend_url) from error
        yield Change("webhook", f"Added: all events go to {address}.")
    elif _examine(found[0], wanted)[1]:
        claim = {} if (known := claim_of(found[0])) is None else {HEADER: known}
        kept = without_claim(found[0].headers, "authorization")
        client.update_webhook(found[0].id, headers=kept | claim | headers, **fields)
        yield Change("webhook", f"Corrected: all events go to {address}, with this backend's credentials.")


def disable_others(client: LabelStudioClient, project_id: int, wanted: Wanted) -> Iterator[Change]:
    """Let webhooks of other installations, and of this one at an earlier address, send nothing and claim nothing."""
    if wanted.installation is None:
        return
    for hook in client.webhooks(project_id):
        if claim_of(hook) is None or same_url(hook.url, webhook_url(wanted.backend_url)):
            continue
        client.update_webhook(hook.id, headers=without_claim(hook.headers), is_active=False)
        earlier = claim_of(hook) == wanted.installation.id
        whose = "this backend's earlier address" if earlier else "another installation"
        yield Change("webhook", f"Switched the one of {whose} off, which went to {printable(hook.url)}.")


def remove_duplicate_webhooks(client: LabelStudioClient, project_id: int, wanted: Wanted) -> Iterator[Change]:
    """Remove webhooks that go to this backend too, but for the oldest."""
    for hook in (hooks := hooks_of(client.webhooks(project_id), wanted.backend_url))[1:]:
        client.delete_webhook(hook.id)
    if len(hooks) > 1:
        yield Change("webhook", f"Removed {len(hooks) - 1} duplicates, which sent every event again.")


def _restore(client: LabelStudioClient, project_id: int, wanted: Wanted) -> Iterator[Change]:
    yield from correct_webhook(client, project_id, wanted)
    yield from remove_duplicate_webhooks(client, project_id, wanted)


def _examine(hook: Webhook, wanted: Wanted) -> tuple[Status, str]:
    """Return what is wrong with a webhook, and how much that matters; nothing where it is as it should be."""
    login = next((value for key, value in hook.headers.items() if key.lower() == "authorization"), None)
    if not hook.is_active:
        return Status.ERROR, "is switched off"
    if not (hook.send_payload and hook.send_for_all_actions):
        return Status.ERROR, "does not send all events, or not what they are about"
    if wanted.basic_auth is not None and login != basic_authorization(*wanted.basic_auth):
        return Status.ERROR, "does not bear this backend's login, so its events are refused with 401"
    if wanted.basic_auth is None and login is not None:
        return Status.OK, "bears a login that this backend does not ask for"
    if wanted.installation is not None and claim_of(hook) != wanted.installation.id:
        return Status.WARNING, "does not bear the id of this installation"
    return Status.OK, ""
