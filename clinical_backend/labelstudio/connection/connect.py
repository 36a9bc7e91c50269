"""Connecting a project with a backend: all that a person would otherwise have to know and set by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clinical_backend.errors import ClinicalError, LabelingConfigError, LabelStudioRefusedError, NotConnectedError
from clinical_backend.labelstudio.connection.project_state import ProjectState
from clinical_backend.labelstudio.connection.wiring import (
    TITLE,
    Change,
    add_exemplars,
    add_tab,
    correct_model_version,
    correct_settings,
    correct_webhook,
    enter_backend,
    without_duplicate_webhooks,
    without_duplicates,
    without_others,
)
from clinical_backend.labelstudio.labeling.scheme import nearest_classes, read_scheme
from clinical_backend.labelstudio.urls import same_url, webhook_url
from clinical_backend.labelstudio.versions import require_supported
from clinical_backend.text import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from clinical_backend.labelstudio.client import LabelStudioClient
    from clinical_backend.labelstudio.connection.installation import Installation
    from clinical_backend.labelstudio.labeling.scheme import LabelingScheme
    from clinical_backend.labelstudio.records import Project

__all__ = ["connect", "lacks_exemplar_control", "repair"]

_SHOWN_ENTRIES = 5


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
    try:
        changes = [] if class_control else list(_which_is_learnt(scheme))
        return changes + _connect(
            client,
            before.project,
            scheme,
            backend_url=backend_url,
            basic_auth=basic_auth,
            title=title,
            add_exemplar_control=add_exemplar_control,
            exemplar_control=exemplar_control,
            published_version=published_version,
            installation=installation,
            claimed=claimed,
        )
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
    client: LabelStudioClient,
    project: Project,
    scheme: LabelingScheme,
    *,
    backend_url: str,
    basic_auth: tuple[str, str] | None,
    title: str,
    add_exemplar_control: bool,
    exemplar_control: str,
    published_version: str | None,
    installation: Installation | None,
    claimed: Callable[[], object],
) -> list[Change]:
    project_id = project.id
    changes = list(add_exemplars(client, project, scheme, add=add_exemplar_control, exemplar_control=exemplar_control))
    changes += correct_settings(client, project)
    changes += add_tab(client, project_id)
    # Before the entry: Label Studio then makes no webhook of its own, which would lack the headers, and an
    # address that it blocks is refused here, where nothing broken stays behind.
    changes += correct_webhook(client, project_id, backend_url, basic_auth, installation)
    changes += without_others(client, project_id, backend_url, installation)
    claimed()
    # The backend takes a project on when it is entered: so nearly all that may be refused comes before.
    changes += enter_backend(client, project_id, backend_url, basic_auth, title)
    changes += correct_model_version(client, project_id, published_version)
    changes += without_duplicates(client, project_id, backend_url)
    return changes


def repair(
    client: LabelStudioClient,
    project_id: int,
    *,
    backend_url: str,
    basic_auth: tuple[str, str] | None = None,
    published_version: str | None = None,
    installation: Installation | None = None,
) -> list[Change]:
    """Bring a project that was connected by hand to the same state as :func:`connect`.

    Label Studio goes on setting things up after its call of ``/setup`` and holds its database meanwhile, so
    call this a moment later and again until no change was made. It looks at the backend's entry only while no
    webhook comes here, since Label Studio answers that with another ``/setup``: nothing is changed in a project, and
    no credentials are handed to Label Studio, unless this backend is entered in it.

    Parameters
    ----------
    client, project_id, backend_url, basic_auth, published_version, installation
        As in :func:`connect`.

    Raises
    ------
    LabelStudioVersionError
        When Label Studio is older than what this backend works with.
    LabelStudioRefusedError, NotConnectedError
        When the project has no entry of a backend at this address, or Label Studio refuses a change.
    """
    require_supported(client.version(), client.url)
    if not any(same_url(hook.url, webhook_url(backend_url)) for hook in client.webhooks(project_id)):
        _require_entry(client, project_id, backend_url)
    changes = list(correct_settings(client, client.project(project_id)))
    changes += correct_webhook(client, project_id, backend_url, basic_auth, installation)
    changes += without_duplicate_webhooks(client, project_id, backend_url)
    changes += correct_model_version(client, project_id, published_version)
    changes += add_tab(client, project_id)
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


def _require_entry(client: LabelStudioClient, project_id: int, backend_url: str) -> None:
    entries = client.backends(project_id)
    if any(same_url(entry.url, backend_url) for entry in entries):
        return
    others = ", ".join(shown(entry.url) for entry in entries[:_SHOWN_ENTRIES]) or "none"
    raise (LabelStudioRefusedError if entries else NotConnectedError)(
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
