"""The tables. Times are seconds since the epoch; ids of projects and tasks are Label Studio's own.

A change here needs a script in ``migrations``.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from clinical_backend.origins import UNKNOWN_SHOWN, Draw, Origin
from clinical_backend.storage.declarative import Base, ReadingState, RoundState
from clinical_backend.storage.readings import Reading
from clinical_backend.storage.report import RoundReport
from clinical_backend.storage.steering import FindingWords, OutsideExemplar, PageTag
from clinical_backend.storage.testset import ReservedTask, Testset, TestsetScores
from clinical_backend.storage.trail import TrailEntry
from clinical_backend.storage.types import StoredJSON

__all__ = [
    "Base",
    "Feature",
    "FindingWords",
    "LabelCheck",
    "ModelFolder",
    "OutsideExemplar",
    "PageTag",
    "Project",
    "ProjectLease",
    "QueuedTask",
    "Reading",
    "ReadingState",
    "ReservedTask",
    "Round",
    "RoundState",
    "SecondReading",
    "StudyImageRow",
    "SuspectedLabel",
    "TaskImage",
    "TaskLabel",
    "Testset",
    "TestsetScores",
    "TrailEntry",
]


class ModelFolder(Base):
    """The folder of files that belongs to the database; one row."""

    __tablename__ = "model_folder"

    identity: Mapped[str] = mapped_column(primary_key=True)
    bound: Mapped[bool]
    """Whether a folder has it in a file."""


class Project(Base):
    """A Label Studio project that this backend serves."""

    __tablename__ = "projects"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    title: Mapped[str | None] = mapped_column(default=None)
    created: Mapped[str | None] = mapped_column(default=None)
    """Creation time that Label Studio states: another one under the same id is another project."""
    options: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """The backend's extra parameters in Label Studio, as it sent them last."""
    page_options: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    """What was set on the project's page; it wins over ``options``, field by field."""
    label_config: Mapped[str | None] = mapped_column(default=None)
    published_version: Mapped[str | None] = mapped_column(default=None)
    request: Mapped[str | None] = mapped_column(default=None)
    """Why a round is due; ``None`` while none is."""
    requested_at: Mapped[float | None] = mapped_column(default=None)
    updates: Mapped[int] = mapped_column(default=0)
    """Annotation events since the last round began."""
    not_before: Mapped[float] = mapped_column(default=0.0)
    """A requested round waits until then: failures back off."""
    failures: Mapped[int] = mapped_column(default=0)
    """Rounds that failed in a row."""
    queue_left: Mapped[int] = mapped_column(default=0)
    """Tasks of the published queue without an annotation, as far as webhooks told."""
    listed_at: Mapped[float] = mapped_column(default=0.0)
    """When all tasks were last listed; between times only new ones are."""
    grouped_by: Mapped[str | None] = mapped_column(default=None)
    """Field of the tasks' data that ``TaskImage.group_key`` was last read from."""
    sited_by: Mapped[str | None] = mapped_column(default=None)
    """Field of the tasks' data that ``TaskImage.site`` was last read from."""
    task_fields: Mapped[list[Any]] = mapped_column(default=list, server_default="[]")
    """Name of each field of the tasks' data, how many tasks have it, and how many different values, when all tasks were
    last listed."""
    wiring_due: Mapped[bool] = mapped_column(default=False)
    """Whether the connection to Label Studio is still to be checked and repaired."""
    adaptation: Mapped[str | None] = mapped_column(default=None)
    """Where the adaptation to the project's images stands, for people; ``None`` before it began."""
    problem: Mapped[str | None] = mapped_column(default=None)
    """What is wrong now, with the cure; ``None`` while all is well."""
    declined: Mapped[list[Any]] = mapped_column(default=list, server_default="[]")
    """Classes of which the lead said that they are not looked for."""
    drift: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    """What was changed in Label Studio beside the backend; see ``rounds.drift``."""
    reader_names: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    """What readers are called, by Label Studio's id of each; empty unless SHOW_READERS is ``names``."""
    standing_back: Mapped[str | None] = mapped_column(default=None)
    """Which other installation serves the project, with the cure: while it does, this one changes nothing there."""


class ProjectLease(Base):
    """Who works at a project. It is no part of the project, whose row its holder may delete and make anew."""

    __tablename__ = "project_leases"

    project_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    token: Mapped[int]
    """Grows each time the project passes to another: an older one counts no more."""
    holder: Mapped[str | None] = mapped_column(default=None)
    """The process that works at it; ``None`` while none does."""
    signs: Mapped[int] = mapped_column(default=0)
    """Signs of life that it gave."""
    sign_at: Mapped[float | None] = mapped_column(default=None)
    """When it gave the last one."""
    progress_at: Mapped[float | None] = mapped_column(default=None)
    """When its work last got on."""


class Round(Base):
    """One pass sync → embed → fit → rank → publish."""

    __tablename__ = "rounds"
    __table_args__ = (UniqueConstraint("project_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    number: Mapped[int]
    version: Mapped[str]
    """``model_version`` of its predictions in Label Studio."""
    request: Mapped[str]
    state: Mapped[RoundState] = mapped_column(default=RoundState.RUNNING)
    stage: Mapped[str] = mapped_column(default="sync")
    done: Mapped[int] = mapped_column(default=0)
    total: Mapped[int] = mapped_column(default=0)
    started_at: Mapped[float]
    finished_at: Mapped[float | None] = mapped_column(default=None)
    switched_at: Mapped[float | None] = mapped_column(default=None)
    """When readers got its queue, or were about to, by Label Studio's clock; ``None`` where that is not known."""
    error: Mapped[str | None] = mapped_column(default=None)
    report: Mapped[RoundReport] = mapped_column(default=RoundReport)


class QueuedTask(Base):
    """One task of a round's queue, with the reason why it is there."""

    __tablename__ = "queued_tasks"

    round_id: Mapped[int] = mapped_column(ForeignKey("rounds.id", ondelete="CASCADE"), primary_key=True)
    rank: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[int] = mapped_column(index=True)
    draw: Mapped[Draw]
    predicted: Mapped[str | None] = mapped_column(default=None)
    probability: Mapped[float | None] = mapped_column(default=None)
    """Of the predicted class."""
    rare_probability: Mapped[float | None] = mapped_column(default=None)
    """The detector's score, as if all classes were equally frequent: it orders, and is no chance."""
    chance: Mapped[float | None] = mapped_column(default=None)
    """Chance that it is rare, calibrated for the queue; ``None`` while too little is known to say."""
    chance_low: Mapped[float | None] = mapped_column(default=None)
    chance_high: Mapped[float | None] = mapped_column(default=None)
    """Ends of its interval."""
    nearest_exemplar: Mapped[int | None] = mapped_column(default=None)
    similarity: Mapped[float | None] = mapped_column(default=None)
    targets: Mapped[list[Any] | None] = mapped_column(StoredJSON(none_as_null=True), default=None)
    """Which of several findings it is sought for; ``None`` where one order seeks all that is looked for."""
    image: Mapped[int | None] = mapped_column(default=None)
    """Place of the image that decided, from 0; ``None`` where the task has one, or all of them decide together."""
    images: Mapped[int | None] = mapped_column(default=None)
    """How many images the task shows, where one decided."""
    view: Mapped[str | None] = mapped_column(default=None)
    """Name of the view that the image which decided is of."""
    words: Mapped[str | None] = mapped_column(default=None)
    """What was looked for by words and it is like; ``None`` where it is not, or nothing was."""
    preannotated: Mapped[bool | None] = mapped_column(default=None)
    """Whether readers get it with a class ticked; ``None`` in queues of earlier versions."""
    answered_at: Mapped[float | None] = mapped_column(default=None)
    """When it was told that somebody answered or skipped it; ``None`` where nobody did, as far as is known."""


class TaskImage(Base):
    """The image of a task: its address, and the content that was found there.

    Of a task with several, the address is what stands for theirs, and the digest is made of theirs.
    """

    __tablename__ = "task_images"

    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    task_id: Mapped[int] = mapped_column(primary_key=True)
    uri: Mapped[str]
    group_key: Mapped[str | None] = mapped_column(default=None)
    """Salted hash of what names its patient or study; ``None`` where it stands for itself."""
    site: Mapped[str | None] = mapped_column(default=None)
    """Where it comes from, as SITE_FIELD says; ``None`` where that is not known."""
    digest: Mapped[str | None] = mapped_column(default=None)
    """sha256 of the bytes; ``None`` until they were read."""
    problem: Mapped[str | None] = mapped_column(default=None)
    attempts: Mapped[int] = mapped_column(default=0)
    tried_at: Mapped[float | None] = mapped_column(default=None)
    looked_at: Mapped[float | None] = mapped_column(default=None)
    """When the bytes were last read, or were found unchanged."""
    mark: Mapped[str | None] = mapped_column(default=None)
    """What tells without reading them that they are the same, as the host gave it: an ETag, a date, a file's time."""
    replaced_at: Mapped[float | None] = mapped_column(default=None)
    """When other bytes were last found at the same address."""


class StudyImageRow(Base):
    """One of the images of a task that has several, and the content that was found at its address."""

    __tablename__ = "study_images"

    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    task_id: Mapped[int] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    """Place among all that the task shows, from 0."""
    total: Mapped[int]
    """How many these are, also where not all are read."""
    view: Mapped[str]
    """Name of the ``Image`` tag that shows it; empty where the labeling config has one alone."""
    uri: Mapped[str]
    digest: Mapped[str | None] = mapped_column(default=None)
    """sha256 of the bytes; ``None`` until they were read."""
    problem: Mapped[str | None] = mapped_column(default=None)
    attempts: Mapped[int] = mapped_column(default=0)
    tried_at: Mapped[float | None] = mapped_column(default=None)


class Feature(Base):
    """Where the feature of an image content stands in a backbone's feature file."""

    __tablename__ = "features"
    __table_args__ = (Index("features_by_digest", "digest"),)

    backbone: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int]
    checksum: Mapped[int | None] = mapped_column(BigInteger, default=None)
    """CRC-32 of digest and row; ``None`` until a row of an earlier version was read."""


class TaskLabel(Base):
    """What readers said of a task, as last read back, and how the task reached them (the ledger)."""

    __tablename__ = "task_labels"

    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    task_id: Mapped[int] = mapped_column(primary_key=True)
    label: Mapped[str | None] = mapped_column(default=None)
    """The class, or several findings (:mod:`clinical_backend.multilabel`); ``None`` where the task was skipped or the
    readers disagree."""
    steer: Mapped[int] = mapped_column(default=0)
    """1 for an exemplar, −1 for a counter-exemplar, else 0."""
    origin: Mapped[Origin] = mapped_column(default=Origin.PAST_QUEUE, server_default="PAST_QUEUE")
    draw: Mapped[Draw | None] = mapped_column(default=None)
    """Why the queue held it; ``None`` unless the label is from a queue."""
    round_number: Mapped[int | None] = mapped_column(default=None)
    """The round whose queue readers had when the task was first answered, be it by a machine; ``None`` before any."""
    labelled_at: Mapped[float]
    """When it was answered, by Label Studio's clock."""
    readings: Mapped[int] = mapped_column(default=1, server_default="1")
    """How many readers answered it: no imports, no accepted predictions, no skips."""
    tagged_by: Mapped[str | None] = mapped_column(default=None)
    """Label Studio's id of the reader who tagged it."""
    tagged_at: Mapped[float | None] = mapped_column(default=None)
    unread: Mapped[str | None] = mapped_column(default=None)
    """Why no class can be read from its answers; ``None`` where one can, where readers disagree, and for a skip."""
    changed_at: Mapped[float | None] = mapped_column(default=None)
    """When one of its answers was last changed, by Label Studio's clock."""
    answers: Mapped[list[Any] | None] = mapped_column(StoredJSON(none_as_null=True), default=None)
    """Reader and class of each annotation where readers disagree and no star settles it."""
    first_class: Mapped[str | None] = mapped_column(default=None)
    """What the first reader said where readers are tied: the label counts as that until they settle it."""
    shown_prediction: Mapped[str] = mapped_column(default=UNKNOWN_SHOWN, server_default=UNKNOWN_SHOWN)
    """Version of the prediction that stood ticked when it was answered, or one of :mod:`origins`' words."""


class SuspectedLabel(Base):
    """A label that deserves a second look, as the last published round found."""

    __tablename__ = "suspected_labels"

    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    task_id: Mapped[int] = mapped_column(primary_key=True)
    label: Mapped[str]
    suspicion: Mapped[float]
    rare_probability: Mapped[float | None] = mapped_column(default=None)
    nearest_exemplar: Mapped[int | None] = mapped_column(default=None)
    similarity: Mapped[float | None] = mapped_column(default=None)


class SecondReading(Base):
    """A task that another reader is asked to read without seeing the first answer, or has read so.

    It is stored before Label Studio is told, so that a process that dies in between leaves nothing marked for ever.
    """

    __tablename__ = "second_readings"

    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    task_id: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[ReadingState]
    label: Mapped[str]
    """The class that it had when it was asked for."""
    readings: Mapped[int]
    """How many readers had answered it then; 0 where an import or a model had."""
    suspicion: Mapped[float | None] = mapped_column(default=None)
    """How much spoke against the label, if that is why."""
    at_random: Mapped[bool] = mapped_column(default=False)
    """Whether it was drawn at random from what readers had answered, so that it tells of ordinary cases."""
    by_lead: Mapped[bool] = mapped_column(default=False)
    asked_at: Mapped[float]
    overlap: Mapped[int | None] = mapped_column(default=None)
    """How many answers Label Studio wanted before; put back when this ends."""
    raised_to: Mapped[int | None] = mapped_column(default=None)
    """How many it was told to want. Where it wants another number by now, somebody else said so."""
    read_at: Mapped[float | None] = mapped_column(default=None)
    answers: Mapped[list[Any] | None] = mapped_column(StoredJSON(none_as_null=True), default=None)
    """Reader and class of each answer as they were first seen together: later corrections are no agreement."""


class LabelCheck(Base):
    """What a person said of a label on our own page; the label itself changes in Label Studio alone."""

    __tablename__ = "label_checks"

    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    task_id: Mapped[int] = mapped_column(primary_key=True)
    label: Mapped[str]
    """The class that it had. With another one by now, the check says nothing of it."""
    answer: Mapped[str]
    """The class that the person gave."""
    blind: Mapped[bool]
    """Whether the person did not see the class that it had."""
    checked_at: Mapped[float]
