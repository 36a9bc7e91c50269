"""What stands between a project and its queue, each with the cure: one check per known trap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from clinical_backend.errors import (
    ClinicalError,
    LabelingConfigError,
    LabelStudioError,
    LabelStudioRefusedError,
)
from clinical_backend.labelstudio.authentication import basic_authorization
from clinical_backend.labelstudio.connect import ADDRESS_CURE, SAMPLING, same_url, webhook_url
from clinical_backend.labelstudio.labeling import read_scheme
from clinical_backend.labelstudio.labels import read_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from clinical_backend.labelstudio.client import LabelStudioClient
    from clinical_backend.labelstudio.records import Backend, Project, Task

__all__ = ["Finding", "Status", "diagnose"]

Status = Literal["ok", "warning", "error"]

_OLDEST_VERSION = (1, 20)
_SAMPLE = 3
_CONNECT = "Run `clinical connect --project {project}`."


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check.

    Attributes
    ----------
    check
        What was looked at.
    status
        ``ok``, ``warning`` where the loop runs but not as it could, ``error`` where it does not.
    message
        What was found, as a sentence.
    cure
        What to do about it; empty where nothing needs doing.
    """

    check: str
    status: Status
    message: str
    cure: str = ""


def diagnose(
    client: LabelStudioClient,
    project_id: int | None = None,
    *,
    backend_url: str,
    basic_auth: tuple[str, str] | None = None,
    exemplar_control: str = "exemplar",
    published_version: str | None = None,
    check_image: Callable[[Task], None] | None = None,
) -> list[Finding]:
    """Check the way from Label Studio to this backend and back, without changing anything.

    Parameters
    ----------
    client
        With the token to check.
    project_id
        The project; without one only server and token are checked.
    backend_url
        Address of this backend as Label Studio reaches it.
    basic_auth
        User and password that this backend asks for.
    exemplar_control
        Name of the control that tags exemplars.
    published_version
        Version of the queue that was published last, if any.
    check_image
        Reads the image of a task, and raises a :class:`ClinicalError` where it cannot be.
    """
    findings = list(_server(client))
    if any(finding.status == "error" for finding in findings) or project_id is None:
        return findings
    try:
        project = client.project(project_id)
    except LabelStudioError as error:
        return [*findings, _failed("project", error)]
    findings.append(Finding("project", "ok", f"Project {project_id} is {project.title!r}."))
    checks = (
        _labeling(client, project, exemplar_control),
        _backend(client, project, backend_url, basic_auth),
        _webhook(client, project, backend_url, basic_auth),
        _order(project),
        _queue(client, project, published_version),
        _images(client, project, check_image),
    )
    for check in checks:
        try:
            findings += check
        except LabelStudioError as error:
            findings.append(_failed("label studio", error))
    return findings


def _failed(check: str, error: ClinicalError) -> Finding:
    return Finding(check, "error", error.problem, error.cure)


def _server(client: LabelStudioClient) -> Iterator[Finding]:
    try:
        version = client.version()
        user = client.whoami()
    except LabelStudioError as error:
        yield _failed("label studio", error)
        return
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers and numbers < _OLDEST_VERSION:
        yield Finding(
            "label studio",
            "warning",
            f"Label Studio {version} at {client.url} is older than what this backend is tested with.",
            "Update it to 1.23 or later.",
        )
    else:
        yield Finding("label studio", "ok", f"Label Studio {version} answers at {client.url}.")
    yield Finding("token", "ok", f"The {client.token_kind} token of user {user.id} is accepted.")


def _labeling(client: LabelStudioClient, project: Project, exemplar_control: str) -> Iterator[Finding]:
    try:
        scheme = read_scheme(project.label_config, exemplar_control)
    except LabelingConfigError as error:
        yield _failed("labeling config", error)
        return
    classes = f"{len(scheme.classes)} classes in {scheme.class_control!r}"
    yield Finding("labeling config", "ok", f"Readers choose one of {classes}.")
    if scheme.more_value is None:
        yield Finding(
            "exemplars",
            "warning",
            f"Readers have no control {exemplar_control!r} to tag exemplars with; only the star steers.",
            f"Run `clinical connect --project {project.id} --exemplar-control`, or set RARE_CLASSES.",
        )
    else:
        yield Finding("exemplars", "ok", f"The choice {scheme.more_value!r} tags exemplars.")
    labels = read_labels(scheme, client.annotated_tasks(project.id))
    for message in labels.messages:
        problem, _, cure = message.partition(";")
        yield Finding("labels", "warning", problem.strip() + ".", cure.strip().capitalize())
    if not labels.messages:
        yield Finding("labels", "ok", f"{len(labels.classes)} of {len(labels.answered)} answers are usable.")


def _backend(
    client: LabelStudioClient, project: Project, backend_url: str, basic_auth: tuple[str, str] | None
) -> Iterator[Finding]:
    connect = _CONNECT.format(project=project.id)
    entries = client.backends(project.id)
    ours = [entry for entry in entries if same_url(entry.url, backend_url)]
    if not ours:
        others = ", ".join(entry.url for entry in entries) or "none"
        yield Finding(
            "backend",
            "error",
            f"The project has no backend at {backend_url} (it has: {others}).",
            f"{connect} If the address is wrong, correct BACKEND_URL.",
        )
        return
    if len(ours) > 1:
        yield Finding("backend", "warning", f"The backend is entered {len(ours)} times.", connect)
    entry = ours[0]
    if entry.state != "CO":
        yield _unreached(entry)
    elif entry.is_interactive:
        yield Finding(
            "backend",
            "warning",
            "The backend is set to interactive pre-annotations, which ask for every task again.",
            connect,
        )
    elif (entry.auth_method == "BASIC_AUTH") != (basic_auth is not None):
        yield Finding(
            "backend", "warning", "Label Studio's login for the backend is not this backend's.", connect
        )
    else:
        yield Finding("backend", "ok", f"Label Studio reaches the backend at {entry.url}.")


def _unreached(entry: Backend) -> Finding:
    reason = f" It says: {' '.join(entry.error_message.split())[:200]}" if entry.error_message else ""
    return Finding(
        "backend",
        "error",
        f"Label Studio does not reach the backend at {entry.url}, or its login is refused.{reason}",
        "Start the backend with `clinical serve`, check BASIC_AUTH_USER and BASIC_AUTH_PASS, and give"
        " BACKEND_URL the address that Label Studio's machine reaches; inside a container, localhost is the"
        f" container itself. {ADDRESS_CURE}",
    )


def _webhook(
    client: LabelStudioClient, project: Project, backend_url: str, basic_auth: tuple[str, str] | None
) -> Iterator[Finding]:
    connect = _CONNECT.format(project=project.id)
    address = webhook_url(backend_url)
    ours = [hook for hook in client.webhooks(project.id) if same_url(hook.url, address)]
    if not ours:
        yield Finding(
            "webhook",
            "error",
            f"No webhook goes to {address}: the backend does not hear of annotations.",
            f"{connect} If that is refused: {ADDRESS_CURE}",
        )
        return
    hook = ours[0]
    wanted = None if basic_auth is None else basic_authorization(*basic_auth)
    sent = next((value for key, value in hook.headers.items() if key.lower() == "authorization"), None)
    if len(ours) > 1:
        yield Finding("webhook", "warning", f"{len(ours)} webhooks send each event.", connect)
    elif not (hook.is_active and hook.send_payload and hook.send_for_all_actions):
        yield Finding("webhook", "error", "The webhook is off, or does not send all events.", connect)
    elif wanted is not None and sent != wanted:
        yield Finding(
            "webhook",
            "error",
            "The webhook does not carry this backend's login, so its events are refused with 401.",
            connect,
        )
    else:
        yield Finding("webhook", "ok", f"All events go to {hook.url}.")


def _order(project: Project) -> Iterator[Finding]:
    connect = _CONNECT.format(project=project.id)
    if project.sampling == SAMPLING:
        yield Finding("sampling", "ok", f"{SAMPLING!r} follows the queue.")
    else:
        yield Finding("sampling", "error", f"{project.sampling!r} does not follow the queue.", connect)
    if project.maximum_annotations > 1:
        yield Finding(
            "annotations per task",
            "warning",
            f"Each task needs {project.maximum_annotations} annotations: Label Studio first serves those that"
            " have some, at random.",
            "Set annotations per task to 1 in the project's settings for the order of the queue.",
        )
    if not project.show_collab_predictions:
        yield Finding("predictions", "warning", "Readers are not shown the predicted classes.", connect)
    if project.evaluate_predictions_automatically:
        yield Finding(
            "predictions",
            "warning",
            "Label Studio asks for predictions whenever a page of the Data Manager is opened, which is slow.",
            "Set evaluate_predictions_automatically to false.",
        )


def _queue(
    client: LabelStudioClient, project: Project, published_version: str | None
) -> Iterator[Finding]:
    versions = client.model_versions(project.id)
    current = project.model_version
    if not current or current not in versions:
        known = f" although {published_version!r} was published" if published_version in versions else ""
        named = f"{current!r}, which names no predictions" if current else "empty"
        yield Finding(
            "queue",
            "error" if known or current else "warning",
            f"The project's model version is {named}{known}: the order is random.",
            f"{_CONNECT.format(project=project.id)} Or press Start Training to publish a queue.",
        )
        return
    if published_version is not None and current != published_version:
        yield Finding(
            "queue",
            "warning",
            f"Readers follow the predictions {current!r}, not the published queue {published_version!r}.",
            _CONNECT.format(project=project.id),
        )
        return
    left = client.count_open_predictions(project.id)
    if left == 0:
        yield Finding(
            "queue",
            "warning",
            f"All tasks of the queue {current!r} are annotated: the order is random.",
            "Press Start Training to publish the next queue, and see why none was published by itself.",
        )
    else:
        yield Finding("queue", "ok", f"Readers follow the queue {current!r}; {left} of its tasks are open.")


def _images(
    client: LabelStudioClient, project: Project, check_image: Callable[[Task], None] | None
) -> Iterator[Finding]:
    if project.task_number == 0:
        yield Finding("images", "warning", "The project has no tasks.", "Import images.")
        return
    if check_image is None:
        return
    tasks = client.first_tasks(project.id, _SAMPLE)
    for task in tasks:
        try:
            check_image(task)
        except LabelStudioRefusedError as error:
            yield _failed("images", error)
            return
        except ClinicalError as error:
            yield Finding("images", "error", f"Task {task.id}: {error.problem}", error.cure)
            return
    yield Finding("images", "ok", f"The images of the first {len(tasks)} tasks can be read.")
