"""What stands between a project and its queue, each with the cure: one check per known trap.

Command, page and repair read the checks of this list.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from clinical_backend.errors import (
    ClinicalError,
    InstallationError,
    InvalidArgumentError,
    LabelingConfigError,
    LabelStudioError,
    LabelStudioUnauthorizedError,
)
from clinical_backend.labelstudio.connection.checks import CheckResult, Place, Present, Status, Wanted
from clinical_backend.labelstudio.connection.entry import check_entry, enter_backend, entries_of
from clinical_backend.labelstudio.connection.published_queue import check_queue
from clinical_backend.labelstudio.connection.serving import check_serving
from clinical_backend.labelstudio.connection.webhook import check_webhook, correct_webhook
from clinical_backend.labelstudio.contract import SetupRequest
from clinical_backend.labelstudio.labeling.retrieval import fetch_labels
from clinical_backend.labelstudio.labeling.scheme import REASON_CONTROL, has_reason_control, read_scheme
from clinical_backend.labelstudio.publisher import QUEUE_SCORE_LIMIT
from clinical_backend.labelstudio.releases import NEWEST_TESTED, is_newer_than_tested, require_supported
from clinical_backend.study import IMAGES_PER_TASK

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from clinical_backend.labelstudio.client import LabelStudioClient
    from clinical_backend.labelstudio.connection.checks import Change
    from clinical_backend.labelstudio.labeling.scheme import LabelingScheme
    from clinical_backend.labelstudio.labeling.several_findings import EmptyAnswer
    from clinical_backend.labelstudio.resources import Backend, Project

__all__ = ["Labeling", "check_connection", "diagnose"]

_SAMPLE = 3
"""Images that are read: whatever keeps one away mostly keeps all away."""


def check_connection(present: Present, wanted: Wanted) -> list[CheckResult]:
    """Compare a project with what this backend sets there."""
    project = present.project
    return [
        *_check_ways(present, wanted),
        *check_serving(project),
        *check_queue(present, wanted),
    ]


@dataclass(frozen=True, slots=True)
class Labeling:
    """What a project's labeling config and labels are checked against.

    Attributes
    ----------
    exemplar_control
        Name of the control that tags exemplars.
    class_control
        Name of the control that holds the classes; by default the first one that can be learnt.
    stars
        Whether stars steer.
    named
        Classes that are looked for by name, so that no tag is needed.
    images_per_task
        How many images of a task are read.
    empty_answer
        What an answer says that ticks none of several findings.
    """

    exemplar_control: str = "exemplar"
    class_control: str | None = None
    stars: bool = False
    named: Sequence[str] = ()
    images_per_task: int = IMAGES_PER_TASK
    empty_answer: EmptyAnswer = "auto"

    def scheme_of(self, project: Project) -> LabelingScheme:
        """Return what the labeling config of a project asks; raises a :class:`LabelingConfigError`."""
        return read_scheme(
            project.label_config, self.exemplar_control, self.class_control, self.empty_answer, self.named
        )


def diagnose(
    client: LabelStudioClient,
    project_id: int | None,
    wanted: Wanted,
    labeling: Labeling | None = None,
    *,
    known: Sequence[CheckResult] = (),
    left: Collection[str] = (),
    read_image: Callable[[str, int], object] | None = None,
) -> list[CheckResult]:
    """Check the way from Label Studio to this backend and back, without changing anything.

    Parameters
    ----------
    client
        With the token to check.
    project_id
        The project; without one only server and token are checked.
    wanted
        What this backend sets in the project.
    labeling
        What its labeling config and labels are checked against.
    known
        What the own state tells: what the lead is asked of the target, and what is wrong with tasks and settings.
    left
        Places that the lead leaves as they are; see :class:`Place`.
    read_image
        Reads an image, given its address in the task and the task's id, and raises a :class:`ClinicalError`
        where that fails. Without it images are not checked.
    """
    labeling = labeling or Labeling()
    results = list(_server(client))
    if any(result.status is Status.ERROR for result in results) or project_id is None:
        return results
    try:
        project = client.project(project_id)
    except LabelStudioError as error:
        return [*results, CheckResult.failed("project", error)]
    results += [CheckResult("project", Status.OK, f"Project {project_id} is {project.title!r}."), *known]
    checks = (
        _labeling(client, project, labeling),
        _connection(client, project, wanted, left),
        _images(client, project, labeling, read_image),
    )
    for check in checks:
        try:
            results += check
        except LabelStudioError as error:
            results.append(CheckResult.failed("label studio", error))
    return results


def _connection(
    client: LabelStudioClient, project: Project, wanted: Wanted, left: Collection[str]
) -> Iterator[CheckResult]:
    """Check what is ours in Label Studio; nothing is where another installation serves the project."""
    hooks = client.webhooks(project.id)
    try:
        if wanted.installation is not None:
            wanted.installation.require_alone(project, hooks, wanted.backend_url)
    except InstallationError as error:
        yield CheckResult.failed("installation", error)
        return
    entries = None
    try:
        entries = client.backends(project.id)
    except LabelStudioError as error:  # what stands without them is checked all the same
        yield CheckResult.failed("label studio", error)
    present = Present(project, hooks, entries, client.model_versions(project.id))
    yield from _extra_params(project.id, entries or (), wanted)
    found = [result.unless_left(left) for result in check_connection(present, wanted)]
    yield from (result for result in found if result.check != "queue")
    if not client.count_open(project.id):
        yield CheckResult("queue", Status.OK, "No task is left to be queued: each is answered.")
    else:
        yield from [result for result in found if result.check == "queue"] or [_open_tasks(client, project, wanted)]


def _extra_params(project_id: int, entries: Sequence[Backend], wanted: Wanted) -> Iterator[CheckResult]:
    """Check that the options that stand at the backend's entry can be read."""
    for entry in entries_of(entries, wanted.backend_url)[:1]:
        try:
            SetupRequest.model_validate({"project": project_id, "extra_params": entry.extra_params}).options()
        except InvalidArgumentError as error:
            message = "Extra params of the backend in Label Studio are no JSON object: the earlier options hold."
            yield CheckResult("extra params", Status.WARNING, message, error.cure)


def _check_ways(present: Present, wanted: Wanted) -> Iterator[CheckResult]:
    """Check the way here, and the way of events; where both are gone, that is one thing."""
    project_id, entries = present.project.id, present.entries
    webhook = check_webhook(project_id, present.hooks, wanted)
    gone = webhook.found == "none"
    entry = None if entries is None else check_entry(project_id, entries, wanted)
    if entry is None:
        yield from () if gone else (webhook,)  # the entry may be gone, too
    elif entry.place is Place.ENTRY and gone:
        message = f"The project has neither a backend at {wanted.backend_url} nor its webhook (it has: {entry.found})."
        yield replace(entry, message=message, place=Place.CONNECTION, repair=_enter_again)
    else:
        yield from (entry, webhook)


def _enter_again(client: LabelStudioClient, project_id: int, wanted: Wanted) -> Iterator[Change]:
    yield from correct_webhook(client, project_id, wanted)
    yield from enter_backend(client, project_id, wanted)


def _server(client: LabelStudioClient) -> Iterator[CheckResult]:
    try:
        version = require_supported(client.version(), client.url)
        user = client.whoami()
    except LabelStudioUnauthorizedError as error:
        yield CheckResult("label studio", Status.OK, f"A Label Studio answers at {client.url}.")
        yield CheckResult.failed("token", error)
        return
    except LabelStudioError as error:
        yield CheckResult.failed("label studio", error)
        return
    newer = f" It is newer than tested ({NEWEST_TESTED})." if is_newer_than_tested(version) else ""
    yield CheckResult("label studio", Status.OK, f"Label Studio {version} answers at {client.url}.{newer}")
    yield CheckResult("token", Status.OK, f"The {client.token_kind} token of user {user.id} is accepted.")


def _labeling(
    client: LabelStudioClient,
    project: Project,
    labeling: Labeling,
) -> Iterator[CheckResult]:
    try:
        scheme = labeling.scheme_of(project)
    except LabelingConfigError as error:
        yield CheckResult.failed("labeling config", error)
        return
    if scheme.not_learnt and not labeling.class_control:
        cure = f"Name the one to learn in CLASS_CONTROL or on the project's page, be it {scheme.class_control!r}."
        yield CheckResult("labeling config", Status.WARNING, scheme.learnt, cure)
    else:
        yield CheckResult("labeling config", Status.OK, scheme.learnt)
    yield _exemplars(project, scheme, labeling)
    if scheme.reason_control is None and has_reason_control(project.label_config):
        yield CheckResult(
            "reasons",
            Status.WARNING,
            f"The control {REASON_CONTROL!r} stays empty: Label Studio would export its text with answers.",
            'Give it visibleWhen="choice-unselected" in the labeling config: it is shown all the same, and left out.',
        )
    labels = fetch_labels(client, project, scheme, stars=labeling.stars)
    for problem, cure in labels.problems:
        yield CheckResult("labels", Status.WARNING, problem, cure)
    if not labels.problems:
        answers = f"{len(labels.classes)} of {len(labels.answered)} answered tasks"
        yield CheckResult("labels", Status.OK, f"{answers} have a class on which readers agree.")


def _exemplars(project: Project, scheme: LabelingScheme, labeling: Labeling) -> CheckResult:
    if scheme.more_value is not None:
        each = ", image by image" if scheme.tags_images else ""
        return CheckResult("exemplars", Status.OK, f"The choice {scheme.more_value!r} tags exemplars{each}.")
    lack = f"Readers have no control {labeling.exemplar_control!r}"
    if labeling.named:
        named = ", ".join(labeling.named)
        return CheckResult("exemplars", Status.OK, f"{lack}, and need none: {named} is looked for by name.")
    return CheckResult(
        "exemplars",
        Status.WARNING,
        f"{lack} to tag exemplars with{'; only the star steers' if labeling.stars else ''}.",
        f"Run `clinical connect --project {project.id} --exemplar-control`, or set RARE_CLASSES.",
    )


def _open_tasks(client: LabelStudioClient, project: Project, wanted: Wanted) -> CheckResult:
    """Tell how much of the queue that readers follow is left."""
    current = project.model_version
    if not current and wanted.published is None:
        return CheckResult(
            "queue",
            Status.WARNING,
            "No queue is published yet, and the model version is empty: the order is random.",
            f"The first round publishes one; `clinical status --project {project.id}` says how far it is.",
        )
    left = client.count_open_below(project.id, QUEUE_SCORE_LIMIT)
    if left == 0:
        return CheckResult(
            "queue",
            Status.WARNING,
            f"All tasks of the queue {current!r} are annotated: the order is random.",
            "Press Start Training to publish the next queue, and see why none was published by itself.",
        )
    return CheckResult("queue", Status.OK, f"Readers follow the queue {current!r}; {left} of its tasks are open.")


def _images(
    client: LabelStudioClient,
    project: Project,
    labeling: Labeling,
    read_image: Callable[[str, int], object] | None,
) -> Iterator[CheckResult]:
    tasks = client.first_tasks(project.id, _SAMPLE)
    if not tasks:
        yield CheckResult("images", Status.WARNING, "The project has no tasks.", "Import images.")
        return
    if read_image is None:
        return
    try:
        scheme = labeling.scheme_of(project)
    except LabelingConfigError:
        return
    shown = []
    for task in tasks:
        if task.withheld:  # the notices tell of it
            continue
        images = scheme.images_of(task.data, labeling.images_per_task)
        if not images:
            problem, cure = scheme.problem_of(task.data)
            yield CheckResult("images", Status.ERROR, f"Task {task.id} has no address of an image. {problem}", cure)
            return
        shown.append(images)
        try:
            for image in (images[0], images[-1])[: len(images)]:
                read_image(image.uri, task.id)
        except ClinicalError as error:
            yield CheckResult("images", Status.ERROR, f"Task {task.id}: {error.problem}", error.cure)
            return
    read = f"The images of the first {len(tasks)} tasks can be read."
    if most := max((images[0].total for images in shown if len(images) > 1), default=0):
        read = f"The first and last images of the first {len(tasks)} tasks can be read. {scheme.shown}"
        read += f" They show up to {most}; of each at most {labeling.images_per_task} are read (IMAGES_PER_TASK)."
    yield CheckResult("images", Status.OK, read)
