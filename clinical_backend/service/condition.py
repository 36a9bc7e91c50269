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
from clinical_backend.labelstudio.connection.checks import CheckResult, Status, Wanted
from clinical_backend.labelstudio.connection.doctor import Labeling, diagnose
from clinical_backend.learner.backbones.loading import require_backbone
from clinical_backend.learner.checkpoint import load_checkpoint
from clinical_backend.rounds.drift import Drift, wanted_of
from clinical_backend.rounds.questions import open_questions
from clinical_backend.storage.space import require_space
from clinical_backend.storage.stores.standing import standings
from clinical_backend.system.permissions import keep_private
from clinical_backend.workspace.notices import notices
from clinical_backend.workspace.project_options import named_classes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from clinical_backend.labelstudio.client import LabelStudioClient
    from clinical_backend.settings import Settings
    from clinical_backend.storage.database import Database
    from clinical_backend.storage.feature_files import FeatureStore
    from clinical_backend.storage.stores.trail import TrailStore
    from clinical_backend.workspace.workspace import ProjectWorkspace, Workspace

__all__ = ["examine_clock", "examine_condition", "examine_project"]

_LITTLE_SPACE = 2**30  # twice the features of 100,000 images, 1280 float32 each
_PATIENCE_SECONDS = 120.0
"""A worker looks every second; one that exports a backbone at its first start takes about a minute."""
_CLOCK_SECONDS = 60.0
"""Of difference that nobody notices in the times that pages show."""


def examine_condition(
    settings: Settings, opened: Workspace | ClinicalError, *, project_id: int | None = None, seconds: float = 20.0
) -> list[CheckResult]:
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
        return [*findings, CheckResult.failed("database", opened), *_redis(settings)]
    try:
        projects = opened.stores.projects.ids()
        findings += _database(opened.stores.database, len(projects))
        findings.append(_trail(opened.stores.trail, seconds))
        chosen = projects if project_id is None else [project_id]
        findings += _kept(opened, chosen, seconds)
        findings += _rounds(opened, chosen)
    except StorageError as error:
        findings.append(CheckResult.failed("database", error))
    return findings + _redis(settings)


def examine_project(
    project: ProjectWorkspace, client: LabelStudioClient, read_image: Callable[[str, int], object]
) -> list[CheckResult]:
    """Check the connection of a project, with what is known of it here.

    Raises
    ------
    SettingsError
        When the project's options are wrong.
    """
    settings, own, row = project.workspace.settings, project.settings, project.row
    named = named_classes(settings, row) if row else ()
    asked = [one.as_problem(project.page) for one in open_questions(project)]
    questions = [CheckResult("target", Status.WARNING, problem, cure) for problem, cure in asked]
    return diagnose(
        client,
        project.id,
        wanted_of(project, row) if row else Wanted(settings.public_url, settings.basic_auth),
        Labeling(
            own.exemplar_control,
            own.class_control,
            stars=own.stars,
            named=named,
            images_per_task=own.images_per_task,
            empty_answer=own.empty_answer,
        ),
        known=[*questions, *notices(project)],
        left=Drift.of(row).left if row else (),
        read_image=read_image,
    )


def examine_clock(client: LabelStudioClient) -> list[CheckResult]:
    """Compare this machine's clock with Label Studio's, as far as its last answer told."""
    ahead = client.session.clock_offset
    if abs(ahead) < _CLOCK_SECONDS:
        return [CheckResult("clock", Status.OK, "The clock of this machine is Label Studio's.")]
    way = "ahead of" if ahead > 0 else "behind"
    return [
        CheckResult(
            "clock",
            Status.WARNING,
            f"Label Studio's clock is {abs(ahead):.0f} seconds {way} this machine's: times on the pages are off.",
            "Let both machines set their clocks by NTP.",
        )
    ]


def _folder(settings: Settings) -> CheckResult:
    folder = settings.model_dir
    try:
        keep_private(folder)
        require_space(folder)
        free = shutil.disk_usage(folder).free
    except StorageError as error:
        return CheckResult.failed("folder", error)
    except OSError as error:
        cure = "Set MODEL_DIR to a folder that this user may write to."
        return CheckResult("folder", Status.ERROR, f"The folder {folder} cannot be used: {error.strerror}.", cure)
    said = f"{folder} can be written, and its disk has {free / 2**30:.1f} GiB left."
    if free < _LITTLE_SPACE:
        return CheckResult("folder", Status.WARNING, said, "Free some space before the disk is full.")
    return CheckResult("folder", Status.OK, said)


def _database(database: Database, projects: int) -> Iterator[CheckResult]:
    database.require_writable()
    with database.read() as session:
        version = session.scalar(text("SELECT version_num FROM alembic_version"))
    kind = "SQLite" if database.note is not None else "PostgreSQL"
    yield CheckResult(
        "database",
        Status.OK,
        f"The {kind} database can be read and written (tables {version}, {projects} projects).",
    )
    if database.note is not None and database.note.exists():
        yield CheckResult(
            "database",
            Status.WARNING,
            "The database was changed past the backend: by hand, by a restored backup, or by a disk that fails.",
            f"If nobody changed it, restore the last backup; then, or if somebody did, remove {database.note}.",
        )


def _trail(trail: TrailStore, seconds: float) -> CheckResult:
    """Check the chain of the trail, as far as the time goes."""
    found = trail.verify(seconds=seconds)
    if found.broken is not None:
        return CheckResult(
            "trail",
            Status.WARNING,
            str(found),
            "Somebody or something changed the database: see `clinical trail --verify`, and compare with a backup.",
        )
    part = "" if found.whole else f" As far as {seconds:.0f} seconds went."
    return CheckResult("trail", Status.OK, f"{found}{part}")


def _kept(workspace: Workspace, projects: Sequence[int], seconds: float) -> Iterator[CheckResult]:
    """Check what was learnt, and the features of every network in use."""
    if not any((workspace.settings.model_dir / "backbones").glob("*.onnx")):
        yield _named(workspace.settings.backbone)
        return
    try:
        backbone = workspace.backbone
    except ClinicalError as error:
        yield CheckResult.failed("backbone", error)
        return
    yield CheckResult("backbone", Status.OK, f"The backbone can be read; it runs in {backbone.engine}.")
    stores = [("features", workspace.features.store), ("thumbnails", workspace.thumbnails)]
    models = 0
    for project_id in projects:
        project = workspace.project(project_id)
        try:
            models += _published(project)
            if project.workspace is not workspace:
                stores.append((f"features of project {project_id}", project.workspace.features.store))
            if (adapted := project.adapted()) is not None:
                stores.append((f"adapted features of project {project_id}", adapted.store))
            if (finetuned := project.finetuned()) is not None:
                stores.append((f"fine-tuned predictions of project {project_id}", finetuned.probabilities.store))
            models += (adapted is not None) + (finetuned is not None)
        except ClinicalError as error:
            yield CheckResult("models", Status.WARNING, f"Project {project_id}: {error.problem}", error.cure)
    yield CheckResult("models", Status.OK, f"{models} models of projects can be read.")
    yield from _features(stores, seconds)


def _named(backbone: str) -> CheckResult:
    """Check the name of a backbone that no worker has loaded yet."""
    try:
        require_backbone(backbone)
    except ClinicalError as error:
        return CheckResult.failed("backbone", error)
    return CheckResult("backbone", Status.OK, "The backbone is exported when a worker starts for the first time.")


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


def _features(stores: list[tuple[str, FeatureStore]], seconds: float) -> Iterator[CheckResult]:
    deadline = time.monotonic() + seconds
    every = known = 0
    for name, store in stores:
        count, checked, wrong = store.examine(max(0.0, deadline - time.monotonic()))
        every, known = every + count, known + checked
        if wrong:
            yield CheckResult(
                "features",
                Status.WARNING,
                f"{wrong} of {checked} {name} were changed or lost on disk.",
                "The next round makes them anew. See that the disk of MODEL_DIR is sound.",
            )
    part = "" if known == every else f" of {every}, as far as {seconds:.0f} seconds went"
    yield CheckResult("features", Status.OK, f"The checksums of {known} rows{part} were compared.")


def _rounds(workspace: Workspace, projects: Sequence[int]) -> Iterator[CheckResult]:
    """Tell of rounds that stand still or that nobody takes up: the server, or the worker, may not be running."""
    database = workspace.stores.database
    told, every = stalls(database, workspace.settings), standings(database)
    worked = is_worked(every, workspace.settings)
    for project_id in projects:
        standing = every.get(project_id)
        if project_id in told:
            yield CheckResult("rounds", Status.WARNING, f"Project {project_id}: {told[project_id]}")
        elif standing is None or standing.running is not None or worked:  # the worker comes to it in its turn
            continue
        elif standing.due > _PATIENCE_SECONDS:
            yield CheckResult(
                "rounds",
                Status.WARNING,
                f"Project {project_id}: a round has been due for {standing.due / 60:.0f} minutes, and nobody runs it.",
                "Start the backend with `clinical serve`, or, with REDIS_URL, a `clinical worker`; else see its log.",
            )


def _redis(settings: Settings) -> list[CheckResult]:
    if settings.redis_url is None:
        return []
    try:
        connection = connect_redis(settings)
        require_redis(connection)
        workers = Worker.count(queue=round_queue(connection))
    except ClinicalError as error:
        return [CheckResult.failed("redis", error)]
    except RedisError as error:
        return [CheckResult("redis", Status.ERROR, f"Redis does not answer ({type(error).__name__}).", "See its log.")]
    if not workers:
        return [CheckResult("workers", Status.ERROR, "No worker is there: rounds wait.", "Start `clinical worker`.")]
    return [CheckResult("workers", Status.OK, f"Redis answers; {workers} workers are there.")]
