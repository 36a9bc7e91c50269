"""Commands about one project: its connection, where it stands, its rounds."""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from clinical_backend.commands.shared import Project, opened_workspace, read_settings, refuse_unconnected
from clinical_backend.commands.terminal import say
from clinical_backend.errors import ClinicalError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from clinical_backend.workspace.workspace import ProjectWorkspace, Workspace

__all__ = ["connect", "doctor", "rollback", "status", "unreadable"]

_MARKS = {"ok": "✓", "warning": "!", "error": "✗"}


def connect(
    project: Project,
    exemplar_control: Annotated[
        bool | None,
        typer.Option(help="Add the control with which readers tag exemplars. Asks if neither is given."),
    ] = None,
    rare: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Class to look for, as the labeling config writes it; may be given several times."
        ),
    ] = None,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Serve it in place of another installation of this backend.")
    ] = False,
) -> None:
    """Connect a project of Label Studio with this backend, which must be running.

    If a step is refused, the project is left as it was.
    """
    from clinical_backend.labelstudio.connection.connect import connect as connect_project
    from clinical_backend.labelstudio.connection.connect import lacks_exemplar_control
    from clinical_backend.storage.trail import TrailAction

    settings = read_settings()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was done is undone then, too
    with opened_workspace(settings) as workspace:
        view, projects, client = workspace.project(project), workspace.stores.projects, workspace.client
        own, row = view.settings, view.row
        with _undone(view):
            add = exemplar_control
            if add is None and lacks_exemplar_control(client, project, own.exemplar_control, own.class_control):
                add = sys.stdin.isatty() and typer.confirm(
                    "Readers need a control to tag exemplars with. Add it to the labeling config?", default=True
                )
            changes = connect_project(
                client,
                project,
                backend_url=settings.public_url,
                basic_auth=settings.basic_auth,
                add_exemplar_control=bool(add),
                exemplar_control=own.exemplar_control,
                class_control=own.class_control,
                published_version=row.published_version if row else None,
                rare_classes=rare or (),
                installation=view.installation,
                take_over=take_over,
                claimed=partial(projects.change, project, standing_back=None),
            )
        made = [change for change in changes if change.made]
        workspace.stores.trail.append(TrailAction.CONNECTED, project, changes=len(made), took_over=take_over)
        looked_for = _looked_for(view, rare or ())
    for change in changes:
        say(f"{'•' if change.made else '!'} {change.detail}", leading=1, mood="ok" if change.made else "warning")
    say("Connected." if made else "Connected already; nothing was to be changed.")
    if looked_for:
        say(f"Looked for: {', '.join(looked_for)}.")
    else:
        say("Which finding is rare? Choose it on the project's page, or name it with --rare.")
    say(f"Its page: {settings.page_of(project)}")


def doctor(
    project: Annotated[
        int | None,
        typer.Option("--project", help="Id of the project; without one, only the backend itself is checked."),
    ] = None,
) -> None:
    """Check what the backend keeps, and the connection of a project, and print the cure for what is wrong."""
    from clinical_backend.labelstudio.connection.checks import Status
    from clinical_backend.service.connection import examine
    from clinical_backend.workspace.components import open_client

    settings = read_settings()
    if project is not None:
        settings.api_key  # noqa: B018 - refuses to look at a project without one
    with ExitStack() as opened:
        workspace: Workspace | ClinicalError
        try:
            workspace = opened.enter_context(opened_workspace(settings))
        except ClinicalError as error:
            workspace = error
        results = examine(settings, workspace, lambda: opened.enter_context(open_client(settings)), project)
    for result in results:
        text = f"{_MARKS[result.status.value]} {result.check}: {result.message}"
        say(text, leading=1, mood=result.status.value)
        if result.cure:
            say(f"    → {result.cure}", leading=5)
    if any(result.status is Status.ERROR for result in results):
        raise typer.Exit(1)


def status(
    project: Project,
    as_json: Annotated[bool, typer.Option("--json", help="All that is known, for machines.")] = False,
) -> None:
    """Show where a project stands, from the database of this machine."""
    import json

    from clinical_backend.commands.status_lines import ATTENTION, summarise
    from clinical_backend.service.status import read_status

    settings = read_settings()
    with opened_workspace(settings) as workspace:
        found = read_status(workspace.project(project))
        if found is None:
            refuse_unconnected(project)
        if as_json:
            print(json.dumps(found.to_json(), indent=2))
            return
        lines = summarise(found)
    width = max(map(len, lines))
    for heading, text in lines.items():
        mood = None if heading != ATTENTION else "warning" if text else "ok"
        say(f"{heading:{width}}  {text or 'nothing'}", leading=width, mood=mood)


def unreadable(
    project: Project,
    form: Annotated[Literal["text", "csv", "json"], typer.Option("--format", help="How they are written.")] = "text",
) -> None:
    """List the tasks that are left out or doubtful, each with its reason: unreadable images and answers."""
    from clinical_backend.service.troubles import write_troubles

    settings = read_settings()
    with opened_workspace(settings) as workspace:
        if workspace.stores.projects.get(project) is None:
            print(f"Project {project} is not connected. Run `clinical connect --project {project}`.", file=sys.stderr)
            raise typer.Exit(1)
        for line in write_troubles(workspace.project(project), form, settings.browser_url):
            print(line, end="")


def rollback(
    project: Annotated[int, typer.Argument(help="Id of the project.")],
    number: Annotated[int, typer.Argument(metavar="ROUND", help="Number of the round to go back to.")],
) -> None:
    """Serve the queue and the model of an earlier round again; the last KEPT_ROUNDS are kept.

    The queue has those of its tasks that are not annotated yet. Later rounds go on as usual: the next one that is due
    learns from all labels and takes its place, unless it is worse on the rare classes. So correct wrong labels first.
    """
    from clinical_backend.rounds.rollback import roll_back, what_follows

    settings = read_settings()
    with opened_workspace(settings) as workspace:
        done = roll_back(workspace.project(project), number)
        say(f"Round {done.number}: {done.request}. Readers get it as {done.version}.")
        for sentence in what_follows(workspace.project(project), done):
            say(sentence)


@contextmanager
def _undone(project: ProjectWorkspace) -> Iterator[None]:
    """Let the server forget a project that it heard of only by a connecting that was refused; else begin anew."""
    from clinical_backend.rounds.drift import forget_answers

    known = project.row is not None
    try:
        yield
    except BaseException:
        if not known:
            project.stores.projects.forget(project.id)
        raise
    forget_answers(project)


def _looked_for(project: ProjectWorkspace, rare: Sequence[str]) -> tuple[str, ...]:
    """Choose what to look for, if anything is named, and return what is looked for by name."""
    from clinical_backend.workspace.project_options import choose_rare, named_classes

    if rare:
        project.stores.projects.register(project.id)
        choose_rare(project, rare)
    row, settings = project.row, project.workspace.settings
    return named_classes(settings, row) if row else settings.rare_classes
