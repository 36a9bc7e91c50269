"""What stands between a project and its queue, each with the cure: one check per known trap."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from clinical_backend.errors import (
    ClinicalError,
    InstallationError,
    LabelingConfigError,
    LabelStudioError,
    LabelStudioUnauthorizedError,
)
from clinical_backend.labelstudio.authentication import basic_authorization
from clinical_backend.labelstudio.connection.drift import Place
from clinical_backend.labelstudio.connection.wiring import ADDRESS_CURE, SAMPLING
from clinical_backend.labelstudio.labeling.labels import fetch_labels
from clinical_backend.labelstudio.labeling.scheme import REASON_CONTROL, has_reason_control, read_scheme
from clinical_backend.labelstudio.publisher import QUEUE_SCORE_LIMIT
from clinical_backend.labelstudio.urls import same_url, webhook_url
from clinical_backend.labelstudio.versions import NEWEST_TESTED, is_newer_than_tested, require_supported

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from clinical_backend.labelstudio.client import LabelStudioClient
    from clinical_backend.labelstudio.connection.installation import Installation
    from clinical_backend.labelstudio.records import Backend, Project

__all__ = ["Finding", "Status", "diagnose"]

_SAMPLE = 3
_LEFT = "so it was left on the project's page."
_CONNECT = "Run `clinical connect --project {project}`."


class Status(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    """The loop runs, but not as it could."""
    ERROR = "error"
    """The loop does not run."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check.

    Attributes
    ----------
    check
        What was looked at.
    status
        How it ended.
    message
        What was found, as a sentence.
    cure
        What to do about it; empty where nothing needs doing.
    """

    check: str
    status: Status
    message: str
    cure: str = ""

    def __str__(self) -> str:
        return f"{self.message} {self.cure}" if self.cure else self.message


def diagnose(
    client: LabelStudioClient,
    project_id: int | None = None,
    *,
    backend_url: str,
    basic_auth: tuple[str, str] | None = None,
    exemplar_control: str = "exemplar",
    class_control: str | None = None,
    stars: bool = False,
    published_version: str | None = None,
    known: Sequence[Finding] = (),
    read_image: Callable[[str, int], object] | None = None,
    installation: Installation | None = None,
    left: Collection[str] = (),
    named: Sequence[str] = (),
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
    class_control
        Name of the control that holds the classes; by default the first one that can be learnt.
    stars
        Whether stars steer.
    published_version
        Version of the queue that was published last, if any.
    known
        What the own state tells: what the lead is asked of the target, and what is wrong with tasks and settings.
    read_image
        Reads an image, given its address in the task and the task's id, and raises a :class:`ClinicalError`
        where that fails. Without it images are not checked.
    installation
        This installation; without it no other one is looked for.
    left
        Places that the lead leaves as they are; see :class:`Place`.
    named
        Classes that are looked for by name, so that no tag is needed.
    """
    findings = list(_server(client))
    if any(finding.status is Status.ERROR for finding in findings) or project_id is None:
        return findings
    try:
        project = client.project(project_id)
    except LabelStudioError as error:
        return [*findings, _failed("project", error)]
    findings.append(Finding("project", Status.OK, f"Project {project_id} is {project.title!r}."))
    findings += known
    try:
        others = list(_installation(client, project, backend_url, installation))
    except LabelStudioError as error:
        return [*findings, _failed("label studio", error)]
    findings += others
    checks = (
        _labeling(client, project, exemplar_control, class_control, stars=stars, named=named),
        *(() if others else _connection(client, project, backend_url, basic_auth, published_version, left)),
        _images(client, project, exemplar_control, class_control, read_image),
    )
    for check in checks:
        try:
            findings += check
        except LabelStudioError as error:
            findings.append(_failed("label studio", error))
    return findings


def _connection(
    client: LabelStudioClient,
    project: Project,
    backend_url: str,
    basic_auth: tuple[str, str] | None,
    published_version: str | None,
    left: Collection[str],
) -> Iterator[Iterator[Finding]]:
    """Yield the checks of what is ours in Label Studio; nothing is where another installation serves the project."""
    yield _backend(client, project, backend_url, basic_auth)
    yield _webhook(client, project, backend_url, basic_auth)
    yield _order(project, left)
    yield _queue(client, project, published_version, left)


def _failed(check: str, error: ClinicalError) -> Finding:
    return Finding(check, Status.ERROR, error.problem, error.cure)


def _server(client: LabelStudioClient) -> Iterator[Finding]:
    try:
        version = require_supported(client.version(), client.url)
        user = client.whoami()
    except LabelStudioUnauthorizedError as error:
        yield Finding("label studio", Status.OK, f"A Label Studio answers at {client.url}.")
        yield _failed("token", error)
        return
    except LabelStudioError as error:
        yield _failed("label studio", error)
        return
    newer = f" It is newer than tested ({NEWEST_TESTED})." if is_newer_than_tested(version) else ""
    yield Finding("label studio", Status.OK, f"Label Studio {version} answers at {client.url}.{newer}")
    yield Finding("token", Status.OK, f"The {client.token_kind} token of user {user.id} is accepted.")


def _installation(
    client: LabelStudioClient, project: Project, backend_url: str, installation: Installation | None
) -> Iterator[Finding]:
    if installation is None:
        return
    try:
        installation.require_alone(project, client.webhooks(project.id), backend_url)
    except InstallationError as error:
        yield _failed("installation", error)


def _labeling(
    client: LabelStudioClient,
    project: Project,
    exemplar_control: str,
    class_control: str | None,
    *,
    stars: bool,
    named: Sequence[str],
) -> Iterator[Finding]:
    try:
        scheme = read_scheme(project.label_config, exemplar_control, class_control)
    except LabelingConfigError as error:
        yield _failed("labeling config", error)
        return
    if scheme.not_learnt and not class_control:
        cure = f"Name the one to learn in CLASS_CONTROL or on the project's page, be it {scheme.class_control!r}."
        yield Finding("labeling config", Status.WARNING, scheme.learnt, cure)
    else:
        yield Finding("labeling config", Status.OK, scheme.learnt)
    if scheme.more_value is None and named:
        yield Finding(
            "exemplars",
            Status.OK,
            f"Readers have no control {exemplar_control!r}, and need none: {', '.join(named)} is looked for by name.",
        )
    elif scheme.more_value is None:
        yield Finding(
            "exemplars",
            Status.WARNING,
            f"Readers have no control {exemplar_control!r} to tag exemplars with"
            f"{'; only the star steers' if stars else ''}.",
            f"Run `clinical connect --project {project.id} --exemplar-control`, or set RARE_CLASSES.",
        )
    else:
        yield Finding("exemplars", Status.OK, f"The choice {scheme.more_value!r} tags exemplars.")
    if scheme.reason_control is None and has_reason_control(project.label_config):
        yield Finding(
            "reasons",
            Status.WARNING,
            f"The control {REASON_CONTROL!r} stays empty: Label Studio would export its text with answers.",
            'Give it visibleWhen="choice-unselected" in the labeling config: it is shown all the same, and left out.',
        )
    labels = fetch_labels(client, project, scheme, stars=stars)
    for problem, cure in labels.problems:
        yield Finding("labels", Status.WARNING, problem, cure)
    if not labels.problems:
        answers = f"{len(labels.classes)} of {len(labels.answered)} answered tasks"
        yield Finding("labels", Status.OK, f"{answers} have a class on which readers agree.")


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
            Status.ERROR,
            f"The project has no backend at {backend_url} (it has: {others}).",
            f"{connect} If the address is wrong, correct BACKEND_URL.",
        )
        return
    if len(ours) > 1:
        yield Finding("backend", Status.WARNING, f"The backend is entered {len(ours)} times.", connect)
    entry = ours[0]
    if entry.state != "CO":
        yield _unreached(entry)
    elif entry.is_interactive:
        yield Finding(
            "backend",
            Status.WARNING,
            "The backend is set to interactive pre-annotations, which ask for every task again.",
            connect,
        )
    elif (entry.auth_method == "BASIC_AUTH") != (basic_auth is not None):
        yield Finding("backend", Status.WARNING, "Label Studio's login for the backend is not this backend's.", connect)
    else:
        yield Finding("backend", Status.OK, f"Label Studio reaches the backend at {entry.url}.")


def _unreached(entry: Backend) -> Finding:
    reason = f" It says: {' '.join(entry.error_message.split())[:200]}" if entry.error_message else ""
    return Finding(
        "backend",
        Status.ERROR,
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
            Status.ERROR,
            f"No webhook goes to {address}: the backend does not hear of annotations.",
            f"{connect} If that is refused: {ADDRESS_CURE}",
        )
        return
    hook = ours[0]
    wanted = None if basic_auth is None else basic_authorization(*basic_auth)
    sent = next((value for key, value in hook.headers.items() if key.lower() == "authorization"), None)
    if len(ours) > 1:
        yield Finding("webhook", Status.WARNING, f"{len(ours)} webhooks send each event.", connect)
    elif not (hook.is_active and hook.send_payload and hook.send_for_all_actions):
        yield Finding("webhook", Status.ERROR, "The webhook is off, or does not send all events.", connect)
    elif wanted is not None and sent != wanted:
        yield Finding(
            "webhook",
            Status.ERROR,
            "The webhook does not carry this backend's login, so its events are refused with 401.",
            connect,
        )
    else:
        yield Finding("webhook", Status.OK, f"All events go to {hook.url}.")


def _order(project: Project, left: Collection[str]) -> Iterator[Finding]:
    connect = _CONNECT.format(project=project.id)
    if project.sampling == SAMPLING:
        yield Finding("sampling", Status.OK, f"{SAMPLING!r} follows the queue.")
    elif Place.SAMPLING in left:
        yield Finding("sampling", Status.WARNING, f"{project.sampling!r} does not follow the queue; {_LEFT}", connect)
    else:
        yield Finding("sampling", Status.ERROR, f"{project.sampling!r} does not follow the queue.", connect)
    if project.maximum_annotations > 1:
        yield Finding(
            "annotations per task",
            Status.WARNING,
            f"Each task needs {project.maximum_annotations} annotations: Label Studio first serves those that"
            " have some, at random.",
            "Set annotations per task to 1 in the project's settings for the order of the queue.",
        )
    if not project.show_collab_predictions:
        yield Finding(
            "predictions", Status.WARNING, "Readers are shown neither reasons nor what PREANNOTATE ticks.", connect
        )
    if project.evaluate_predictions_automatically:
        yield Finding(
            "predictions",
            Status.WARNING,
            "Label Studio asks for predictions whenever a page of the Data Manager is opened, which is slow, and looks"
            " like Retrieve predictions.",
            "Set evaluate_predictions_automatically to false.",
        )


def _queue(
    client: LabelStudioClient, project: Project, published_version: str | None, accepted: Collection[str]
) -> Iterator[Finding]:
    versions = client.model_versions(project.id)
    current = project.model_version
    if not client.count_open(project.id):
        yield Finding("queue", Status.OK, "No task is left to be queued: each is answered.")
        return
    if not current and published_version is None:
        yield Finding(
            "queue",
            Status.WARNING,
            "No queue is published yet, and the model version is empty: the order is random.",
            f"The first round publishes one; `clinical status --project {project.id}` says how far it is.",
        )
        return
    if not current or current not in versions:
        known = f" although {published_version!r} was published" if published_version in versions else ""
        named = f"{current!r}, which names no predictions" if current else "empty"
        yield Finding(
            "queue",
            Status.ERROR if known or current else Status.WARNING,
            f"The project's model version is {named}{known}: the order is random.",
            f"{_CONNECT.format(project=project.id)} Or press Start Training to publish a queue.",
        )
        return
    if published_version is not None and current != published_version:
        yield Finding(
            "queue",
            Status.WARNING,
            f"Readers follow the predictions {current!r}, not the published queue {published_version!r}"
            f"{f'; {_LEFT}' if Place.MODEL_VERSION in accepted else '.'}",
            _CONNECT.format(project=project.id),
        )
        return
    left = client.count_open_below(project.id, QUEUE_SCORE_LIMIT)
    if left == 0:
        yield Finding(
            "queue",
            Status.WARNING,
            f"All tasks of the queue {current!r} are annotated: the order is random.",
            "Press Start Training to publish the next queue, and see why none was published by itself.",
        )
    else:
        yield Finding("queue", Status.OK, f"Readers follow the queue {current!r}; {left} of its tasks are open.")


def _images(
    client: LabelStudioClient,
    project: Project,
    exemplar_control: str,
    class_control: str | None,
    read_image: Callable[[str, int], object] | None,
) -> Iterator[Finding]:
    tasks = client.first_tasks(project.id, _SAMPLE)
    if not tasks:
        yield Finding("images", Status.WARNING, "The project has no tasks.", "Import images.")
        return
    if read_image is None:
        return
    try:
        scheme = read_scheme(project.label_config, exemplar_control, class_control)
    except LabelingConfigError:
        return
    for task in tasks:
        if task.withheld:  # the notices tell of it
            continue
        uri = scheme.address_of(task.data)
        if not uri:
            problem, cure = scheme.image_value.problem(task.data)
            yield Finding("images", Status.ERROR, f"Task {task.id} has no address of an image. {problem}", cure)
            return
        try:
            read_image(uri, task.id)
        except ClinicalError as error:
            yield Finding("images", Status.ERROR, f"Task {task.id}: {error.problem}", error.cure)
            return
    yield Finding("images", Status.OK, f"The images of the first {len(tasks)} tasks can be read.")
