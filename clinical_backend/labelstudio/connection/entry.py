"""The entry of this backend in a project, with address and login."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clinical_backend.errors import LabelStudioRefusedError
from clinical_backend.labelstudio.connection.checks import (
    ADDRESS_CURE,
    CONNECT,
    Change,
    CheckResult,
    Place,
    Status,
    listed,
)
from clinical_backend.labelstudio.connection.refused import explain_refusal
from clinical_backend.labelstudio.urls import same_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from clinical_backend.labelstudio.client import LabelStudioClient
    from clinical_backend.labelstudio.connection.checks import Wanted
    from clinical_backend.labelstudio.resources import Backend

__all__ = ["TITLE", "check_entry", "enter_backend", "entries_of", "remove_duplicate_entries"]

TITLE = "Clinical"


def entries_of(entries: Iterable[Backend], backend_url: str) -> list[Backend]:
    """Return those of a project's backends that are this one, the oldest first."""
    return sorted((entry for entry in entries if same_url(entry.url, backend_url)), key=lambda entry: entry.id)


def check_entry(project_id: int, entries: Sequence[Backend], wanted: Wanted) -> CheckResult:
    """Check that this backend is entered once, reached, and asked with its login."""
    connect = CONNECT.format(project=project_id)
    ours = entries_of(entries, wanted.backend_url)
    if not ours:
        return CheckResult(
            "backend",
            Status.ERROR,
            f"The project has no backend at {wanted.backend_url} (it has: {listed(entries)}).",
            f"{connect} If the address is wrong, correct BACKEND_URL.",
            place=Place.ENTRY,
            found=listed(entries),
            deliberate=True,
            repair=enter_backend,
        )
    entry = ours[0]
    if entry.state != "CO":
        return _unreached(entry)
    if entry.is_interactive:
        problem = "The backend is set to interactive pre-annotations, which ask for every task again."
    elif (entry.auth_method == "BASIC_AUTH") != (wanted.basic_auth is not None):
        problem = "Label Studio's login for the backend is not this backend's."
    elif len(ours) > 1:
        problem = f"The backend is entered {len(ours)} times."
    else:
        return CheckResult("backend", Status.OK, f"Label Studio reaches the backend at {entry.url}.")
    return CheckResult("backend", Status.WARNING, problem, connect)


def enter_backend(client: LabelStudioClient, project_id: int, wanted: Wanted, title: str = TITLE) -> Iterator[Change]:
    """Make sure that the backend is entered in a project, with its login."""
    url = wanted.backend_url
    fields: dict[str, Any] = {"title": title, "is_interactive": False, **_login(wanted.basic_auth)}
    found = entries_of(client.backends(project_id), url)
    if not found:
        try:
            client.add_backend(project_id, url, **fields)
        except LabelStudioRefusedError as error:
            for entry in entries_of(client.backends(project_id), url):
                client.delete_backend(entry.id)
            raise explain_refusal(error, url) from error
        yield Change("backend", f"Added {title!r} at {url}.")
        return
    differs = any(getattr(found[0], key) != value for key, value in fields.items() if key != "basic_auth_pass")
    # A stored password cannot be read back, so it is written every time.
    if differs or wanted.basic_auth is not None:
        try:
            client.update_backend(found[0], **fields)
        except LabelStudioRefusedError as error:
            raise explain_refusal(error, url) from error
    if differs:
        yield Change("backend", f"Corrected {title!r} at {url}.")


def remove_duplicate_entries(client: LabelStudioClient, project_id: int, wanted: Wanted) -> Iterator[Change]:
    """Remove this backend where it is entered again; at the end, since an entry's password could not be put back."""
    for entry in (entries := entries_of(client.backends(project_id), wanted.backend_url))[1:]:
        client.delete_backend(entry.id)
    if len(entries) > 1:
        yield Change("backend", f"Removed {len(entries) - 1} duplicates of it.")


def _unreached(entry: Backend) -> CheckResult:
    reason = f" It says: {' '.join(entry.error_message.split())[:200]}" if entry.error_message else ""
    return CheckResult(
        "backend",
        Status.ERROR,
        f"Label Studio does not reach the backend at {entry.url}, or its login is refused.{reason}",
        "Start the backend with `clinical serve`, check BASIC_AUTH_USER and BASIC_AUTH_PASS, and give"
        " BACKEND_URL the address that Label Studio's machine reaches; inside a container, localhost is the"
        f" container itself. {ADDRESS_CURE}",
    )


def _login(basic_auth: tuple[str, str] | None) -> dict[str, str]:
    if basic_auth is None:
        # Label Studio sends stored credentials whatever the method says, unless the user is empty.
        return {"auth_method": "NONE", "basic_auth_user": ""}
    user, password = basic_auth
    return {"auth_method": "BASIC_AUTH", "basic_auth_user": user, "basic_auth_pass": password}
