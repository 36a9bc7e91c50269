"""Commands about one project: its connection, where it stands, its rounds."""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from clinical_backend.commands.shared import Project, open_client, read_settings
from clinical_backend.commands.terminal import say
from clinical_backend.errors import ClinicalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from clinical_backend.labelstudio.client import LabelStudioClient
    from clinical_backend.labelstudio.installation import Installation
    from clinical_backend.settings import Settings

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
    from clinical_backend.labelstudio.connect import connect as connect_project
    from clinical_backend.labelstudio.connect import lacks_exemplar_control

    settings = read_settings()
    own = _own_settings(settings, project)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was done is undone then, too
    with open_client(settings) as client, _undone(settings, project):
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
            published_version=_published_version(settings, project),
            rare_classes=rare or (),
            installation=_installation(settings, project),
            take_over=take_over,
            claimed=partial(_stand_forward, settings, project),
        )
    for change in changes:
        say(f"{'•' if change.made else '!'} {change.detail}", leading=1, mood="ok" if change.made else "warning")
    made = any(change.made for change in changes)
    say("Connected." if made else "Connected already; nothing was to be changed.")
    if looked_for := _looked_for(settings, project, rare or ()):
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
    from clinical_backend.jobs.condition import examine_clock, examine_condition
    from clinical_backend.labelstudio.doctor import Finding, Status, diagnose
    from clinical_backend.web.exposure import examine_exposure

    settings = read_settings()
    if project is not None:
        settings.api_key  # noqa: B018 - refuses to look at a project without one
    findings = examine_exposure(settings) + examine_condition(settings)
    sound = not any(finding.check == "database" and finding.status is Status.ERROR for finding in findings)
    own = _own_settings(settings, project) if project is not None and sound else settings
    known = _known(settings, project) if project is not None and sound else {}
    try:
        with open_client(settings) as client:
            findings += diagnose(
                client,
                project,
                backend_url=settings.public_url,
                basic_auth=settings.basic_auth,
                exemplar_control=own.exemplar_control,
                class_control=own.class_control,
                stars=own.stars,
                read_image=_image_reader(settings, client),
                **known,
            )
            findings += examine_clock(client)
    except ClinicalError as error:
        findings.append(Finding("settings", Status.ERROR, error.problem, error.cure))
    for finding in findings:
        text = f"{_MARKS[finding.status.value]} {finding.check}: {finding.message}"
        say(text, leading=1, mood=finding.status.value)
        if finding.cure:
            say(f"    → {finding.cure}", leading=5)
    if any(finding.status is Status.ERROR for finding in findings):
        raise typer.Exit(1)


def status(
    project: Project,
    as_json: Annotated[bool, typer.Option("--json", help="All that is known, for machines.")] = False,
) -> None:
    """Show where a project stands, from the database of this machine."""
    import json

    from clinical_backend.backend import Backend
    from clinical_backend.commands.summary import ATTENTION, summarise
    from clinical_backend.jobs.local import LocalRunner
    from clinical_backend.rounds.workshop import Workshop
    from clinical_backend.storage.database import Database

    settings = read_settings()
    database = Database.of(settings)
    workshop = Workshop(settings, database)
    row = workshop.stores.projects.get(project)
    if row is None:
        say(f"Project {project} is not connected. Run `clinical connect --project {project}`.")
        raise typer.Exit(1)
    if as_json:
        print(json.dumps(Backend(settings, database, LocalRunner({})).status(project), indent=2))
        return
    lines = summarise(workshop, row)
    width = max(map(len, lines))
    for heading, text in lines.items():
        mood = None if heading != ATTENTION else "warning" if text else "ok"
        say(f"{heading:{width}}  {text or 'nothing'}", leading=width, mood=mood)


def unreadable(
    project: Project,
    form: Annotated[Literal["text", "csv", "json"], typer.Option("--format", help="How they are written.")] = "text",
) -> None:
    """List the tasks that are left out or doubtful, each with its reason: unreadable images and answers."""
    from clinical_backend.rounds.troubles import write_troubles
    from clinical_backend.storage.database import Database
    from clinical_backend.storage.stores import Stores

    settings = read_settings()
    stores = Stores(Database.of(settings))
    if stores.projects.get(project) is None:
        print(f"Project {project} is not connected. Run `clinical connect --project {project}`.", file=sys.stderr)
        raise typer.Exit(1)
    for line in write_troubles(stores, project, form, settings.browser_url):
        print(line, end="")


def rollback(
    project: Annotated[int, typer.Argument(help="Id of the project.")],
    number: Annotated[int, typer.Argument(metavar="ROUND", help="Number of the round to go back to.")],
) -> None:
    """Serve the queue and the model of an earlier round again; the last KEPT_ROUNDS are kept.

    The queue has those of its tasks that are not annotated yet. Later rounds go on as usual: the next one that is due
    learns from all labels and takes its place, unless it is worse on the rare classes. So correct wrong labels first.
    """
    from clinical_backend.backend import Backend
    from clinical_backend.jobs.local import LocalRunner
    from clinical_backend.storage.database import Database

    settings = read_settings()
    done = Backend(settings, Database.of(settings), LocalRunner({})).rollback(project, number)
    say(f"Round {done.number}: {done.request}. Readers get it as {done.version}.")


def _known(settings: Settings, project: int) -> dict[str, Any]:
    """Return what the database says of a project, as the doctor takes it."""
    return {
        "published_version": _published_version(settings, project),
        "questions": _questions(settings, project),
        "notices": _notices(settings, project),
        "installation": _installation(settings, project),
        "left": _left(settings, project),
        "named": _looked_for(settings, project),
    }


def _own_settings(settings: Settings, project: int) -> Settings:
    from clinical_backend.rounds.workshop import Workshop
    from clinical_backend.storage.database import Database

    return Workshop(settings, Database.of(settings)).settings_of(project)


def _published_version(settings: Settings, project: int) -> str | None:
    from clinical_backend.storage.database import Database
    from clinical_backend.storage.projects import ProjectStore

    row = ProjectStore(Database.of(settings)).get(project)
    return row.published_version if row else None


def _installation(settings: Settings, project: int) -> Installation:
    from clinical_backend.rounds.ownership import installation_of
    from clinical_backend.storage.database import Database
    from clinical_backend.storage.stores import Stores

    return installation_of(Stores(Database.of(settings)), project)


def _left(settings: Settings, project: int) -> frozenset[str]:
    from clinical_backend.rounds.drift import Drift
    from clinical_backend.storage.database import Database
    from clinical_backend.storage.projects import ProjectStore

    row = ProjectStore(Database.of(settings)).get(project)
    return frozenset(Drift.of(row).left if row else ())


@contextmanager
def _undone(settings: Settings, project: int) -> Iterator[None]:
    """Let the server forget a project that it heard of only by a connecting that was refused; else begin anew."""
    from clinical_backend.rounds.drift import forget_answers
    from clinical_backend.storage.database import Database
    from clinical_backend.storage.stores import Stores

    stores = Stores(Database.of(settings))
    known = stores.projects.get(project) is not None
    try:
        yield
    except BaseException:
        if not known:
            stores.projects.forget(project)
        raise
    forget_answers(stores, project)


def _stand_forward(settings: Settings, project: int) -> None:
    from clinical_backend.storage.database import Database
    from clinical_backend.storage.projects import ProjectStore

    ProjectStore(Database.of(settings)).change(project, standing_back=None)


def _looked_for(settings: Settings, project: int, rare: Sequence[str] = ()) -> tuple[str, ...]:
    """Choose what to look for, if anything is named, and return what is looked for by name."""
    from clinical_backend.rounds.options import choose_rare, named_classes
    from clinical_backend.storage.database import Database
    from clinical_backend.storage.stores import Stores

    stores = Stores(Database.of(settings))
    if rare:
        stores.projects.register(project)
        choose_rare(stores, project, rare)
    row = stores.projects.get(project)
    return named_classes(settings, row) if row else settings.rare_classes


def _questions(settings: Settings, project: int) -> list[tuple[str, str]]:
    from clinical_backend.rounds.questions import open_questions
    from clinical_backend.rounds.workshop import Workshop
    from clinical_backend.storage.database import Database

    workshop = Workshop(settings, Database.of(settings))
    return [question.as_problem(settings.page_of(project)) for question in open_questions(workshop, project)]


def _notices(settings: Settings, project: int) -> list[tuple[str, str, str]]:
    from clinical_backend.rounds.notices import notices
    from clinical_backend.rounds.workshop import Workshop
    from clinical_backend.storage.database import Database

    found = notices(Workshop(settings, Database.of(settings)), project)
    return [(one.about, one.problem, one.cure) for one in found]


def _image_reader(settings: Settings, client: LabelStudioClient) -> Callable[[str, int], object]:
    from clinical_backend.images.decoding import decode
    from clinical_backend.images.sources import ImageSource

    source = ImageSource(
        settings.label_studio_url,
        client.http,
        local_roots=settings.local_roots,
        allowed_hosts=settings.image_hosts,
    )

    def read(uri: str, task_id: int) -> object:
        return decode(source.fetch(uri, task_id))

    return read
