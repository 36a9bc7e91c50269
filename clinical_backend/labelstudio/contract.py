"""What Label Studio sends to a backend, and what it expects back.

Unknown fields are ignored, since each release adds some; a body that lacks what a call is about is refused
with a :class:`pydantic.ValidationError`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from clinical_backend.errors import InvalidArgumentError
from clinical_backend.labelstudio.resources import Mapping, Regions  # noqa: TC001 - pydantic needs them at run time
from clinical_backend.text import read_json

__all__ = [
    "Event",
    "HealthReply",
    "PredictParams",
    "PredictReply",
    "PredictRequest",
    "PredictTask",
    "Prediction",
    "ProjectId",
    "SetupReply",
    "SetupRequest",
    "VersionsReply",
    "WebhookAnnotation",
    "WebhookReply",
    "WebhookRequest",
]


def _project_id(value: object) -> object:
    """Read the id from ``"<id>.<created>"``, from a project, or from a bare id."""
    if isinstance(value, dict):
        value = value.get("id")
    if isinstance(value, str):
        value = value.partition(".")[0]
    return value


def _as_list(value: object) -> object:
    """Read the singular and the plural form of an event alike."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


Id = Annotated[int, Field(ge=0, lt=2**63)]  # what a database can hold
ProjectId = Annotated[Id, BeforeValidator(_project_id), Field(gt=0)]


class _Received(BaseModel):
    model_config = ConfigDict(
        extra="ignore", frozen=True, populate_by_name=True, protected_namespaces=(), hide_input_in_errors=True
    )


class SetupRequest(_Received):
    """POST ``/setup``: comes when a backend is connected or looked at, and before each prediction.

    Attributes
    ----------
    project_id
        The project.
    label_config
        Its labeling config (``schema`` in the request).
    hostname
        Label Studio's own idea of its address.
    access_token
        A legacy token of the project's creator; of no use where legacy tokens are switched off.
    extra_params
        As stored in the backend's entry: null, an object, or text; see :meth:`options`.
    """

    project_id: ProjectId = Field(alias="project")
    label_config: str = Field(default="", alias="schema")
    hostname: str | None = None
    access_token: SecretStr | None = None
    extra_params: Any = None

    def options(self) -> dict[str, Any]:
        """Return the extra parameters as a mapping; empty when there are none.

        Raises
        ------
        InvalidArgumentError
            When they are no JSON object.
        """
        value = self.extra_params
        if isinstance(value, str):
            try:
                value = read_json(value) if value.strip() else None
            except ValueError:
                value = []
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise InvalidArgumentError(
                "extra_params",
                "the backend's extra parameters are no JSON object.",
                'Write them as {"queue_size": 100} in the backend\'s settings in Label Studio.',
            )
        return value


class PredictTask(_Received):
    """One task of a predict request, with the answers and predictions that it has."""

    id: Id | None = None
    data: Mapping = Field(default_factory=dict)
    meta: Mapping = Field(default_factory=dict)
    annotations: Annotated[list[Any], BeforeValidator(_as_list)] = Field(default_factory=list)
    predictions: Annotated[list[Any], BeforeValidator(_as_list)] = Field(default_factory=list)


class PredictParams(_Received):
    """Parameters of a predict request; ``context`` holds the regions drawn in an interactive one."""

    context: dict[str, Any] | None = None


class PredictRequest(_Received):
    """POST ``/predict``, for one task or for all of a project.

    Attributes
    ----------
    tasks
        The tasks, in the order that the reply must have.
    project_id
        The project; ``None`` where the caller names none.
    label_config
        Its labeling config.
    params
        Whatever else the call brings.
    """

    tasks: list[PredictTask]
    project_id: ProjectId | None = Field(default=None, alias="project")
    label_config: str | None = None
    params: Annotated[PredictParams, BeforeValidator(lambda value: value or {})] = Field(default_factory=PredictParams)


class Event(StrEnum):
    """What a webhook tells of. Each is only a hint that something changed."""

    ANNOTATION_CREATED = "ANNOTATION_CREATED"
    ANNOTATIONS_CREATED = "ANNOTATIONS_CREATED"
    ANNOTATION_UPDATED = "ANNOTATION_UPDATED"
    ANNOTATIONS_DELETED = "ANNOTATIONS_DELETED"
    TASKS_CREATED = "TASKS_CREATED"
    TASKS_DELETED = "TASKS_DELETED"
    PROJECT_UPDATED = "PROJECT_UPDATED"
    PROJECT_DELETED = "PROJECT_DELETED"
    START_TRAINING = "START_TRAINING"
    UNKNOWN = "UNKNOWN"

    @property
    def is_annotation(self) -> bool:
        """Whether annotations came, changed or went."""
        return self.value.startswith("ANNOTATION")


class WebhookAnnotation(_Received):
    """An annotation as far as an event tells of it; a deleted one has only its id."""

    id: Id
    task: Id | None = None
    project: Id | None = None
    result: Regions | None = None
    was_cancelled: bool = False
    ground_truth: bool = False


class _WebhookTask(_Received):
    id: Id
    project: Id | None = None


class WebhookRequest(_Received):
    """POST ``/webhook``.

    Attributes
    ----------
    action
        The event's name as sent.
    annotations
        The annotations it is about; none in START_TRAINING and in events of tasks.
    tasks
        The tasks it is about.
    """

    action: str = Field(min_length=1, max_length=100)
    project: Annotated[ProjectId | None, BeforeValidator(_project_id)] = None
    annotation: Annotated[list[WebhookAnnotation], BeforeValidator(_as_list)] = Field(default_factory=list, repr=False)
    plural: Annotated[list[WebhookAnnotation], BeforeValidator(_as_list)] = Field(
        default_factory=list, alias="annotations", repr=False
    )
    task: Annotated[list[_WebhookTask], BeforeValidator(_as_list)] = Field(default_factory=list, repr=False)
    tasks: Annotated[list[_WebhookTask], BeforeValidator(_as_list)] = Field(default_factory=list, repr=False)

    @property
    def event(self) -> Event:
        """The event; ``UNKNOWN`` for one that this package does not know."""
        return Event.__members__.get(self.action, Event.UNKNOWN)

    @property
    def annotations(self) -> tuple[WebhookAnnotation, ...]:
        """The annotations that it is about, whichever form it came in."""
        return (*self.annotation, *self.plural)

    @property
    def task_ids(self) -> tuple[int, ...]:
        """The tasks that it is about, without repetition; none for deleted annotations."""
        ids = [task.id for task in (*self.task, *self.tasks)]
        ids += [annotation.task for annotation in self.annotations if annotation.task is not None]
        return tuple(dict.fromkeys(ids))

    @property
    def project_id(self) -> int | None:
        """The project; ``None`` for a webhook that sends no payload."""
        if self.project is not None:
            return self.project
        named = [annotation.project for annotation in self.annotations]
        named += [task.project for task in (*self.task, *self.tasks)]
        return next((project for project in named if project is not None), None)


class _Reply(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class HealthReply(_Reply):
    """Answer to GET ``/`` and ``/health``."""

    status: str = "UP"
    model_class: str = "ClinicalBackend"


class SetupReply(_Reply):
    """Answer to ``/setup``: the version of what ``/predict`` answers, or Label Studio asks for what it already has."""

    model_version: str


class VersionsReply(_Reply):
    """Answer to GET ``/versions``."""

    versions: list[str]


class WebhookReply(_Reply):
    """Answer to ``/webhook``; ``job`` where the event started one."""

    status: str = "accepted"
    job: str | None = None


class Prediction(_Reply):
    """Answer for one task; an empty ``result`` where nothing can be said.

    It has no score: Label Studio would show it as a confidence, and there is none to show for a single answer.
    """

    result: list[dict[str, Any]]
    score: None = None
    model_version: str


class PredictReply(_Reply):
    """Answer to ``/predict``: exactly one item per task, in order; of an empty list Label Studio stores nothing."""

    results: list[Prediction | list[Prediction]]
