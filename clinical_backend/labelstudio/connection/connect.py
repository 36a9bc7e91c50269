"""Connecting a project with a backend: all that a person would otherwise have to know and set by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clinical_backend.errors import ClinicalError, LabelingConfigError, LabelStudioRefusedError, NotConnectedError
from clinical_backend.labelstudio.connection.checks import Change, Present, Wanted, listed
from clinical_backend.labelstudio.connection.doctor import check_connection
from clinical_backend.labelstudio.connection.entry import TITLE, enter_backend, entries_of, remove_duplicate_entries
from clinical_backend.labelstudio.connection.project_state import ProjectState
from clinical_backend.labelstudio.connection.published_queue import correct_model_version
from clinical_backend.labelstudio.connection.serving import correct_serving
from clinical_backend.labelstudio.connection.webhook import (
    correct_webhook,
    disable_others,
    hooks_of,
    remove_duplicate_webhooks,
)
from clinical_backend.labelstudio.labeling.layout import with_exemplar_control
from clinical_backend.labelstudio.labeling.scheme import nearest_classes, read_scheme
from clinical_backend.labelstudio.releases import require_supported
from clinical_backend.labelstudio.tabs import QUEUE_TITLE, show_queue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from clinical_backend.labelstudio.client import LabelStudioClient
    from clinical_backend.labelstudio.connection.installation import Installation
    from clinical_backend.labelstudio.labeling.scheme import LabelingScheme
    from clinical_backend.labelstudio.resources import Backend, Project

__all__ = ["connect", "lacks_exemplar_control", "repair"]


def connect(
    client: LabelStudioClient,
    project_id: int,
    *,
    backend_url: str,
    basic_auth: tuple[str, str] | None = None,
    title: str = TITLE,
    add_exemplar_control: bool = False,
    exemplar_control: str = "exemplar",
    class_control: str | None = None,
    published_version: str | None = None,
    rare_classes: Sequence[str] = (),
    installation: Installation | None = None,
    take_over: bool = False,
    claimed: Callable[[], object] = lambda: None,
) -> list[Change]:
    """Wire a project to this backend, which must be running; what is right already is left alone.

    A project is connected, or left as it was: where a step is refused or interrupted, those before it are undone.

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
    installation
        This installation; its id is put into the webhook, so that others stand back.
    take_over
        Whether it takes the place of another installation that serves the project.
    claimed
        Called when no other installation serves the project any more, before this backend is entered: until then its
        server may refuse Label Studio's ``/setup``.

    Returns
    -------
    list of Change
        What was changed, and advice.

    Raises
    ------
    LabelStudioVersionError
        Before anything is changed, when Label Studio is older than what this backend works with.
    LabelingConfigError
        Before anything is changed, when the labeling config is not supported, or these are not some of its
        classes.
    InstallationError
        Before anything is changed, when another installation serves the project, and is not to be taken over from.
    LabelStudioRefusedError, NotConnectedError
        When Label Studio refuses the backend's address or cannot reach it.
    """
    require_supported(client.version(), client.url)
    before = ProjectState.read(client, project_id, backend_url)
    scheme = read_scheme(before.project.label_config, exemplar_control, class_control)
    _check_classes(scheme.classes, rare_classes)
    if installation is not None and not take_over:
        installation.require_alone(before.project, before.hooks, backend_url)
    wanted = Wanted(backend_url, basic_auth, installation, published_version)
    try:
        changes = [] if class_control else list(_which_is_learnt(scheme))
        changes += _add_exemplars(client, before.project, scheme, exemplar_control, add=add_exemplar_control)
        return [*changes, *_connect(client, before.project, wanted, title, claimed)]
    except BaseException as error:
        left = before.put_back(client)
        if isinstance(error, ClinicalError):
            error.cure += _left(left)
        raise


def _left(left: Sequence[str]) -> str:
    if not left:
        return " The project is as it was before."
    return f" Of the project, {' and '.join(left)} could not be put back: look at them, or connect again."


def _connect(
    client: LabelStudioClient, project: Project, wanted: Wanted, title: str, claimed: Callable[[], object]
) -> Iterator[Change]:
    at = (client, project.id, wanted)
    yield from correct_serving(client, project, wanted)
    yield from _add_tab(client, project.id)
    # Before the entry: Label Studio then makes no webhook of its own, which would lack the headers, and an
    # address that it blocks is refused here, where nothing broken stays behind.
    yield from correct_webhook(*at)
    yield from disable_others(*at)
    claimed()
    # The backend takes a project on when it is entered: so nearly all that may be refused comes before.
    yield from enter_backend(*at, title)
    yield from correct_model_version(*at)
    yield from remove_duplicate_entries(*at)
    yield from remove_duplicate_webhooks(*at)


def repair(client: LabelStudioClient, project_id: int, wanted: Wanted) -> list[Change]:
    """Bring a project that was connected by hand to the same state as :func:`connect`.

    Label Studio goes on setting things up after its call of ``/setup`` and holds its database meanwhile, so
    call this a moment later and again until no change was made. It looks at the backend's entry only while no
    webhook comes here, since Label Studio answers that with another ``/setup``: nothing is changed in a project, and
    no credentials are handed to Label Studio, unless this backend is entered in it.

    Parameters
    ----------
    client
        With the token of a user who may edit the project.
    project_id
        The project.
    wanted
        What this backend sets there.

    Raises
    ------
    LabelStudioVersionError
        When Label Studio is older than what this backend works with.
    LabelStudioRefusedError, NotConnectedError
        When the project has no entry of a backend at this address, or Label Studio refuses a change.
    """
    require_supported(client.version(), client.url)
    hooks = client.webhooks(project_id)
    entries = None if hooks_of(hooks, wanted.backend_url) else _require_entry(client, project_id, wanted.backend_url)
    present = Present(client.project(project_id), hooks, entries, client.model_versions(project_id))
    changes: list[Change] = []
    for result in check_connection(present, wanted):
        if result.repair is not None and not result.needs_queue:
            changes += result.repair(client, project_id, wanted)
    return [*changes, *_add_tab(client, project_id)]


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


def _require_entry(client: LabelStudioClient, project_id: int, backend_url: str) -> list[Backend]:
    entries = client.backends(project_id)
    if entries_of(entries, backend_url):
        return entries
    raise (LabelStudioRefusedError if entries else NotConnectedError)(
        f"In Label Studio, project {project_id} has no backend at {backend_url} (it has: {listed(entries)}).",
        "If one of them is this backend, set BACKEND_URL to that address and start it again; otherwise run"
        f" `clinical connect --project {project_id}`.",
    )


def _add_exemplars(
    client: LabelStudioClient, project: Project, scheme: LabelingScheme, control: str, *, add: bool
) -> Iterator[Change]:
    """Add the control that tags exemplars to the labeling config, or advise it."""
    if scheme.exemplar_control is not None:
        return
    if add:
        extended = with_exemplar_control(project.label_config, control, scheme.class_control)
        client.update_project(project.id, label_config=extended)
        yield Change("labeling config", f"Added the control {control!r} for tagging exemplars, beside the classes.")
    else:
        advice = (
            f"Readers have no control {control!r} for tagging exemplars. Add it beside the image, with the classes, by "
            f"`clinical connect --project {project.id} --exemplar-control`, or name what to look for."
        )
        yield Change("labeling config", advice, made=False)


def _add_tab(client: LabelStudioClient, project_id: int) -> Iterator[Change]:
    if show_queue(client, project_id):
        yield Change("data manager", f"Added the tab {QUEUE_TITLE!r}, which shows the queue in its order.")


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
