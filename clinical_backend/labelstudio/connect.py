"""Connecting a project with a backend: all that a person would otherwise have to know and set by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from clinical_backend.errors import LabelingConfigError, LabelStudioRefusedError
from clinical_backend.labelstudio.authentication import basic_authorization
from clinical_backend.labelstudio.labeling import nearest_classes, read_scheme, with_exemplar_control
from clinical_backend.labelstudio.views import QUEUE_TITLE, show_queue
from clinical_backend.shown import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from clinical_backend.labelstudio.client import LabelStudioClient
    from clinical_backend.labelstudio.labeling import LabelingScheme
    from clinical_backend.labelstudio.records import Backend, Project

__all__ = [
    "ADDRESS_CURE",
    "SAMPLING",
    "Change",
    "connect",
    "lacks_exemplar_control",
    "repair",
    "same_url",
    "webhook_url",
]

SAMPLING = "Uncertainty sampling"

_PORTS = {"http": 80, "https": 443}
_SHOWN_ENTRIES = 5

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


def connect(
    client: LabelStudioClient,
    project_id: int,
    *,
    backend_url: str,
    basic_auth: tuple[str, str] | None = None,
    title: str = "Clinical",
    add_exemplar_control: bool = False,
    exemplar_control: str = "exemplar",
    class_control: str | None = None,
    published_version: str | None = None,
    rare_classes: Sequence[str] = (),
) -> list[Change]:
    """Wire a project to this backend, which must be running; what is right already is left alone.

    Parameters
    ----------
    client
        With the token of a user who may edit the project.
    project_id
        The project.
    backend_url
        Address of this backend as Label Studio reaches it.
    basic_auth
        User and password that this backend asks for.
    title
        Name of the backend in Label Studio.
    add_exemplar_control
        Whether to add the exemplar control to the labeling config where it is missing.
    exemplar_control
        Its name.
    class_control
        Name of the control that holds the classes; by default the first one that can be learnt.
    published_version
        Version of the queue that was published last, if any.
    rare_classes
        Classes that are to be looked for, to be checked.

    Returns
    -------
    list of Change
        What was changed, and advice.

    Raises
    ------
    LabelingConfigError
        Before anything is changed, when the labeling config is not supported, or these are not some of its
        classes.
    LabelStudioRefusedError
        When Label Studio refuses the backend's address or cannot reach it. No broken entry is left behind.
    """
    project = client.project(project_id)
    scheme = read_scheme(project.label_config, exemplar_control, class_control)
    _check_classes(scheme.classes, rare_classes)
    changes = [] if class_control else list(_which_is_learnt(scheme))
    changes += _exemplars(client, project, scheme, add=add_exemplar_control, exemplar_control=exemplar_control)
    changes += _project_settings(client, project)
    # Before the entry: Label Studio then makes no webhook of its own, which would lack the header, and an
    # address that it blocks is refused here, where nothing broken stays behind.
    changes += _webhook(client, project_id, backend_url, basic_auth)
    changes += _backend(client, project_id, backend_url, basic_auth, title)
    changes += _model_version(client, project_id, published_version)
    changes += _tab(client, project_id)
    return changes


def repair(
    client: LabelStudioClient,
    project_id: int,
    *,
    backend_url: str,
    basic_auth: tuple[str, str] | None = None,
    published_version: str | None = None,
) -> list[Change]:
    """Bring a project that was connected by hand to the same state as :func:`connect`.

    Label Studio goes on setting things up after its call of ``/setup`` and holds its database meanwhile, so
    call this a moment later and again until no change was made. It looks at the backend's entry only while no
    webhook comes here, since Label Studio answers that with another ``/setup``: nothing is changed in a project, and
    no credentials are handed to Label Studio, unless this backend is entered in it.

    Parameters
    ----------
    client, project_id, backend_url, basic_auth, published_version
        As in :func:`connect`.

    Raises
    ------
    LabelStudioRefusedError
        When the project has no entry of a backend at this address, or Label Studio refuses a change.
    """
    if not any(same_url(hook.url, webhook_url(backend_url)) for hook in client.webhooks(project_id)):
        _require_entry(client, project_id, backend_url)
    changes = list(_project_settings(client, client.project(project_id)))
    changes += _webhook(client, project_id, backend_url, basic_auth)
    changes += _model_version(client, project_id, published_version)
    changes += _tab(client, project_id)
    return changes


def lacks_exemplar_control(
    client: LabelStudioClient, project_id: int, exemplar_control: str = "exemplar", class_control: str | None = None
) -> bool:
    """Tell whether readers of a project have no control to tag exemplars with.

    Raises
    ------
    LabelingConfigError
        When the labeling config is not supported at all.
    """
    return (
        read_scheme(client.project(project_id).label_config, exemplar_control, class_control).exemplar_control is None
    )


def webhook_url(backend_url: str) -> str:
    """Return where Label Studio notifies a backend."""
    return backend_url.rstrip("/") + "/webhook"


def same_url(one: str, other: str) -> bool:
    """Tell whether two addresses lead to the same place, as far as can be told without asking a name server.

    Slashes at the end, capitals in the host, a scheme's own port and the names of loopback make no difference.
    """
    return _place(one) == _place(other)


def _place(url: str) -> tuple[str, str, int | None, str]:
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "", url.strip().rstrip("/"), None, ""
    loopback = host in {"localhost", "127.0.0.1", "::1"}
    path = parts.path.rstrip("/") + (f"?{parts.query}" if parts.query else "")
    return parts.scheme, "localhost" if loopback else host, port or _PORTS.get(parts.scheme), path


def _require_entry(client: LabelStudioClient, project_id: int, backend_url: str) -> None:
    entries = client.backends(project_id)
    if any(same_url(entry.url, backend_url) for entry in entries):
        return
    others = ", ".join(shown(entry.url) for entry in entries[:_SHOWN_ENTRIES]) or "none"
    raise LabelStudioRefusedError(
        f"In Label Studio, project {project_id} has no backend at {backend_url} (it has: {others}).",
        "If one of them is this backend, set BACKEND_URL to that address and start it again; otherwise run"
        f" `clinical connect --project {project_id}`.",
    )


def _which_is_learnt(scheme: LabelingScheme) -> Iterator[Change]:
    """Say which of several controls is learnt, where nobody chose."""
    if scheme.not_learnt:
        yield Change("labeling config", f"{scheme.learnt} If another is meant, name it in CLASS_CONTROL.", made=False)


def _check_classes(classes: Sequence[str], rare_classes: Sequence[str]) -> None:
    if set(rare_classes) >= set(classes):
        raise LabelingConfigError("Not every class can be rare.", "Nothing was changed. Leave one out that is common.")
    if unknown := [name for name in rare_classes if name not in classes]:
        listed = ", ".join(map(repr, classes))
        raise LabelingConfigError(
            f"The labeling config has no class {' and no class '.join(map(repr, unknown))}."
            + "".join(nearest_classes(name, classes) for name in unknown),
            f"Nothing was changed. Name of these, as they are written: {listed}.",
        )


def _exemplars(
    client: LabelStudioClient, project: Project, scheme: LabelingScheme, *, add: bool, exemplar_control: str
) -> Iterator[Change]:
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


def _project_settings(client: LabelStudioClient, project: Project) -> Iterator[Change]:
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


def _webhook(
    client: LabelStudioClient, project_id: int, backend_url: str, basic_auth: tuple[str, str] | None
) -> Iterator[Change]:
    """Make sure that one webhook, and only one, sends every event with its payload."""
    address = webhook_url(backend_url)
    headers = {} if basic_auth is None else {"Authorization": basic_authorization(*basic_auth)}
    wanted: dict[str, Any] = {"is_active": True, "send_payload": True, "send_for_all_actions": True}
    found = sorted(
        (hook for hook in client.webhooks(project_id) if same_url(hook.url, address)),
        key=lambda hook: hook.id,
    )
    if not found:
        try:
            client.create_webhook(project_id, address, headers=headers, **wanted)
        except LabelStudioRefusedError as error:
            raise _blocked(error, backend_url) from error
        yield Change("webhook", f"Added: all events go to {address}.")
        return
    first, *rest = found
    kept_headers = {key: value for key, value in first.headers.items() if key.lower() != "authorization"}
    wanted_headers = {**kept_headers, **headers}
    if first.headers != wanted_headers or any(getattr(first, key) != value for key, value in wanted.items()):
        client.update_webhook(first.id, headers=wanted_headers, **wanted)
        yield Change("webhook", f"Corrected: all events go to {address}, with this backend's credentials.")
    for hook in rest:
        client.delete_webhook(hook.id)
    if rest:
        yield Change("webhook", f"Removed {len(rest)} duplicates, which sent every event again.")


def _backend(
    client: LabelStudioClient,
    project_id: int,
    backend_url: str,
    basic_auth: tuple[str, str] | None,
    title: str,
) -> Iterator[Change]:
    fields: dict[str, Any] = {"title": title, "is_interactive": False, **_authentication_fields(basic_auth)}
    found = sorted(_entries(client, project_id, backend_url), key=lambda entry: entry.id)
    if not found:
        try:
            client.add_backend(project_id, backend_url, **fields)
        except LabelStudioRefusedError as error:
            for entry in _entries(client, project_id, backend_url):
                client.delete_backend(entry.id)
            raise _blocked(error, backend_url) from error
        yield Change("backend", f"Added {title!r} at {backend_url}.")
        return
    first, *rest = found
    differs = any(getattr(first, key) != value for key, value in fields.items() if key != "basic_auth_pass")
    # A stored password cannot be read back, so it is written every time.
    if differs or basic_auth is not None:
        try:
            client.update_backend(first, **fields)
        except LabelStudioRefusedError as error:
            raise _blocked(error, backend_url) from error
    if differs:
        yield Change("backend", f"Corrected {title!r} at {backend_url}.")
    for entry in rest:
        client.delete_backend(entry.id)
    if rest:
        yield Change("backend", f"Removed {len(rest)} duplicates of it.")


def _entries(client: LabelStudioClient, project_id: int, backend_url: str) -> list[Backend]:
    return [entry for entry in client.backends(project_id) if same_url(entry.url, backend_url)]


def _authentication_fields(basic_auth: tuple[str, str] | None) -> dict[str, str]:
    if basic_auth is None:
        # Label Studio sends stored credentials whatever the method says, unless the user is empty.
        return {"auth_method": "NONE", "basic_auth_user": ""}
    user, password = basic_auth
    return {"auth_method": "BASIC_AUTH", "basic_auth_user": user, "basic_auth_pass": password}


def _blocked(error: LabelStudioRefusedError, backend_url: str) -> LabelStudioRefusedError:
    """Say what to do when Label Studio refuses the backend's address, or does not reach it."""
    problem = error.problem.lower()
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


def _model_version(client: LabelStudioClient, project_id: int, published_version: str | None) -> Iterator[Change]:
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


def _tab(client: LabelStudioClient, project_id: int) -> Iterator[Change]:
    """Add a tab to the Data Manager that shows the queue in its order."""
    if show_queue(client, project_id):
        yield Change("data manager", f"Added the tab {QUEUE_TITLE!r}, which shows the queue in its order.")
