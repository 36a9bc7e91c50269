"""The condition of the backend itself, for the doctor: its folder, database, features, models, workers and clock."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

from redis import RedisError
from rq import Worker
from sqlalchemy import text

from clinical_backend.errors import ClinicalError, StorageError
from clinical_backend.jobs.redis_connection import connect_redis, require_redis, round_queue
from clinical_backend.jobs.stall import is_worked, stalls
from clinical_backend.labelstudio.connection.doctor import Finding, Status, diagnose
from clinical_backend.learner.checkpoint import load_checkpoint
from clinical_backend.rounds.drift import Drift
from clinical_backend.rounds.questions import open_questions
from clinical_backend.storage.space import require_space
from clinical_backend.storage.stores.standing import standings
from clinical_backend.system.permissions import keep_private
from clinical_backend.workspace.notices import notices
from clinical_backend.workspace.options import named_classes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from clinical_backend.labelstudio.client import LabelStudioClient
    from clinical_backend.settings import Settings
    from clinical_backend.storage.database import Database
    from clinical_backend.storage.features import FeatureStore
    from clinical_backend.workspace.workspace import ProjectWorkspace, Workspace

__all__ = ["examine_clock", "examine_condition", "examine_project"]

_LITTLE_SPACE = 2**30
_PATIENCE_SECONDS = 120.0
"""A worker looks every second; one that exports a backbone at its first start takes about a minute."""
_CLOCK_SECONDS = 60.0
"""Of difference that nobody notices in the times that pages show."""


def examine_condition(
    settings: Settings, opened: Workspace | ClinicalError, *, project_id: int | None = None, seconds: float = 20.0
) -> list[Finding]:
    """Check what the backend keeps and what runs its rounds, without Label Studio.

    Damaged features are only counted here: the next round makes them anew.

    Parameters
    ----------
    settings
        Of the backend.
    opened
        With its database; or why that cannot be opened.
    project_id
        Of this project alone, what was learnt and its rounds are looked at; of all by default.
    seconds
        How long checksums are compared.
    """
    findings = [_folder(settings)]
    if isinstance(opened, ClinicalError):
        return [*findings, _failed("database", opened), *_redis(settings)]
    try:
        projects = opened.stores.projects.ids()
        findings += _database(opened.stores.database, len(projects))
        chosen = projects if project_id is None else [project_id]
        findings += _kept(opened, chosen, seconds)
        findings += _rounds(opened, chosen)
    except StorageError as error:
        findings.append(_failed("database", error))
    return findings + _redis(settings)


def examine_project(
    project: ProjectWorkspace,
    client: LabelStudioClient,
    read_image: Callable[[str, int], object],
) -> list[Finding]:
    """Check the connection of a project, with what is known of it here.

    Raises
    ------
    SettingsError
        When the project's options are wrong.
    """
    settings, own, row = project.workspace.settings, project.settings, project.row
    return diagnose(
        client,
        project.id,
        backend_url=settings.public_url,
        basic_auth=settings.basic_auth,
        exemplar_control=own.exemplar_control,
        class_control=own.class_control,
        stars=own.stars,
        published_version=row.published_version if row else None,
        questions=[one.as_problem(project.page) for one in open_questions(project)],
        notices=[(one.about, one.problem, one.cure) for one in notices(project)],
        read_image=read_image,
        installation=project.installation,
        left=Drift.of(row).left if row else (),
        named=named_classes(settings, row) if row else (),
    )


def examine_clock(client: LabelStudioClient) -> list[Finding]:
    """Compare this machine's clock with Label Studio's, as far as its last answer told."""
    ahead = client.session.clock_offset
    if abs(ahead) < _CLOCK_SECONDS:
        return [Finding("clock", Status.OK, "The clock of this machine is Label Studio's.")]
    way = "ahead of" if ahead > 0 else "behind"
    return [
        Finding(
            "clock",
            Status.WARNING,
            f"Label Studio's clock is {abs(ahead):.0f} seconds {way} this machine's: times on the pages are off.",
            "Let both machines set their clocks by NTP.",
        )
    ]


def _failed(check: str, error: ClinicalError, status: Status = Status.ERROR) -> Finding:
    return Finding(check, status, error.problem, error.cure)


def _folder(settings: Settings) -> Finding:
    folder = settings.model_dir
    try:
        keep_private(folder)
        require_space(folder)
        free = shutil.disk_usage(folder).free
    except StorageError as error:
        return _failed("folder", error)
    except OSError as error:
        cure = "Set MODEL_DIR to a folder that this user may write to."
        return Finding("folder", Status.ERROR, f"The folder {folder} cannot be used: {error.strerror}.", cure)
    said = f"{folder} can be written, and its disk has {free / 2**30:.1f} GiB left."
    if free < _LITTLE_SPACE:
        return Finding("folder", Status.WARNING, said, "Free some space before the disk is full.")
    return Finding("folder", Status.OK, said)


def _database(database: Database, projects: int) -> Iterator[Finding]:
    database.require_writable()
    with database.read() as session:
        version = session.scalar(text("SELECT version_num FROM alembic_version"))
    kind = "SQLite" if database.note is not None else "PostgreSQL"
    yield Finding(
        "database",
        Status.OK,
        f"The {kind} database can be read and written (tables {version}, {projects} projects).",
    )
    if database.note is not None and database.note.exists():
        yield Finding(
            "database",
            Status.WARNING,
            "The database was changed past the backend: by hand, by a restored backup, or by a disk that fails.",
            f"If nobody changed it, restore the last backup; then, or if somebody did, remove {database.note}.",
        )


def _kept(workspace: Workspace, projects: Sequence[int], seconds: float) -> Iterator[Finding]:
    """Check what was learnt, and the features of every network in use."""
    if not any((workspace.settings.model_dir / "backbones").glob("*.onnx")):
        yield Finding("backbone", Status.OK, "The backbone is exported when a worker starts for the first time.")
        return
    try:
        backbone = workspace.backbone
    except ClinicalError as error:
        yield _failed("backbone", error)
        return
    yield Finding("backbone", Status.OK, f"The backbone can be read; it runs in {backbone.engine}.")
    stores = [("features", workspace.features.store), ("thumbnails", workspace.thumbnails)]
    models = 0
    for project_id in projects:
        project = workspace.project(project_id)
        try:
            models += _published(project)
            if (adapted := project.adapted()) is not None:
                stores.append((f"adapted features of project {project_id}", adapted.store))
            if (finetuned := project.finetuned()) is not None:
                stores.append((f"fine-tuned predictions of project {project_id}", finetuned.probabilities.store))
            models += (adapted is not None) + (finetuned is not None)
        except ClinicalError as error:
            yield Finding("models", Status.WARNING, f"Project {project_id}: {error.problem}", error.cure)
    yield Finding("models", Status.OK, f"{models} models of projects can be read.")
    yield from _features(stores, seconds)


def _published(project: ProjectWorkspace) -> int:
    """Read the published classifier, if there is one, and return how many that are."""
    row = project.row
    if row is None or row.published_version is None:
        return 0
    folder = project.checkpoint_folder(row.published_version)
    if not folder.is_dir():
        return 0
    load_checkpoint(folder)
    return 1


def _features(stores: list[tuple[str, FeatureStore]], seconds: float) -> Iterator[Finding]:
    deadline = time.monotonic() + seconds
    every = known = 0
    for name, store in stores:
        count, checked, wrong = store.examine(max(0.0, deadline - time.monotonic()))
        every, known = every + count, known + checked
        if wrong:
            yield Finding(
                "features",
                Status.WARNING,
                f"{wrong} of {checked} {name} were changed or lost on disk.",
                "The next round makes them anew. See that the disk of MODEL_DIR is sound.",
            )
    part = "" if known == every else f" of {every}, as far as {seconds:.0f} seconds went"
    yield Finding("features", Status.OK, f"The checksums of {known} rows{part} were compared.")


def _rounds(workspace: Workspace, projects: Sequence[int]) -> Iterator[Finding]:
    """Tell of rounds that stand still or that nobody takes up: the server, or the worker, may not be running."""
    database = workspace.stores.database
    told, every = stalls(database, workspace.settings), standings(database)
    worked = is_worked(every, workspace.settings)
    for project_id in projects:
        standing = every.get(project_id)
        if project_id in told:
            yield Finding("rounds", Status.WARNING, f"Project {project_id}: {told[project_id]}")
        elif standing is None or standing.running is not None or worked:  # the worker comes to it in its turn
            continue
        elif standing.due > _PATIENCE_SECONDS:
            yield Finding(
                "rounds",
                Status.WARNING,
                f"Project {project_id}: a round has been due for {standing.due / 60:.0f} minutes, and nobody runs it.",
                "Start the backend with `clinical serve`, or, with REDIS_URL, a `clinical worker`; else see its log.",
            )


def _redis(settings: Settings) -> list[Finding]:
    if settings.redis_url is None:
        return []
    try:
        connection = connect_redis(settings)
        require_redis(connection)
        workers = Worker.count(queue=round_queue(connection))
    except ClinicalError as error:
        return [_failed("redis", error)]
    except RedisError as error:
        return [Finding("redis", Status.ERROR, f"Redis does not answer ({type(error).__name__}).", "See its log.")]
    if not workers:
        return [Finding("workers", Status.ERROR, "No worker is there: rounds wait.", "Start `clinical worker`.")]
    return [Finding("workers", Status.OK, f"Redis answers; {workers} workers are there.")]
