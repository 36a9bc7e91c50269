"""What Label Studio keeps, as far as this package reads it."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - pydantic needs it at run time
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

__all__ = [
    "AnnotatedTask",
    "Annotation",
    "Backend",
    "Mapping",
    "Prediction",
    "Project",
    "Regions",
    "Task",
    "User",
    "View",
    "Webhook",
]

Text = Annotated[str, BeforeValidator(lambda value: "" if value is None else value)]
Count = Annotated[int, BeforeValidator(lambda value: 0 if value is None else value)]
Region = dict[str, Any]


def _regions(value: object) -> object:
    """Read what is no list of regions, as an import may leave it, as one region that says nothing."""
    if isinstance(value, list):
        return [item if isinstance(item, dict) else {} for item in value]
    return [{}] if value else []


def _mapping(value: object) -> object:
    return value if isinstance(value, dict) else {}


Mapping = Annotated[dict[str, Any], BeforeValidator(_mapping)]
"""Of a task whose data is no object nothing is known; it must not stop the others."""

Regions = Annotated[list[Region], BeforeValidator(_regions)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())


class User(_Record):
    """Who uses Label Studio."""

    id: int
    email: str = ""
    first_name: Text = ""
    last_name: Text = ""


class Project(_Record):
    """A project. ``model_version`` names the predictions that order its queue; empty means none."""

    id: int
    title: Text = ""
    label_config: Text = ""
    model_version: Text = ""
    sampling: Text = ""
    created_at: datetime
    task_number: Count = 0
    maximum_annotations: Count = 1
    show_collab_predictions: bool = True
    evaluate_predictions_automatically: bool = False
    skip_queue: Text = ""


class Task(_Record):
    """A task: its data as imported, cloud addresses not resolved.

    One that is ``withheld`` is there, and Label Studio fails in giving it, to readers too: what an import brought is no
    text, such as half a character.
    """

    id: int
    data: Mapping = Field(default_factory=dict)
    withheld: bool = False
    created_at: datetime | None = None


class Annotation(_Record):
    """One answer. ``was_cancelled`` means skipped; ``ground_truth`` means starred.

    ``lead_time``, in seconds, is what the interface measures while a reader looks; bulk actions leave it
    out, and most imports. ``import_id`` and ``parent_prediction`` name what an answer was copied from.
    """

    id: int
    result: Regions = Field(default_factory=list)
    was_cancelled: bool = False
    ground_truth: bool = False
    completed_by: int | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    lead_time: float | None = None
    import_id: int | None = None
    parent_prediction: int | None = None


class AnnotatedTask(Task):
    """A task with all its submitted answers, skips included.

    ``overlap`` is how many answers it is to get; with so many, ``is_labeled`` is set and nobody is served it any more.
    """

    annotations: list[Annotation] = Field(default_factory=list)
    overlap: Count = 1
    is_labeled: bool = False


class Prediction(_Record):
    """A stored prediction."""

    id: int
    model_version: Text = ""
    score: float | None = None
    result: Regions = Field(default_factory=list)


class Backend(_Record):
    """The entry of an ML backend in a project. ``state`` is ``CO`` where Label Studio reaches it.

    ``extra_params`` is whatever JSON somebody wrote there.
    """

    id: int
    url: str
    title: Text = ""
    state: Text = ""
    error_message: Text = ""
    is_interactive: bool = False
    auth_method: Text = "NONE"
    basic_auth_user: Text = ""
    extra_params: Any = None
    model_version: Text = ""
    project: int


class Webhook(_Record):
    """An address that Label Studio notifies."""

    id: int
    url: str
    project: int | None = None
    is_active: bool = True
    send_payload: bool = True
    send_for_all_actions: bool = True
    headers: dict[str, str] = Field(default_factory=dict, repr=False)


class View(_Record):
    """A tab of the Data Manager."""

    id: int
    data: dict[str, Any] = Field(default_factory=dict)

    @property
    def title(self) -> str:
        """The tab's name."""
        return str(self.data.get("title", ""))

    @property
    def filters(self) -> dict[str, Any]:
        """What it shows, as Label Studio has it; empty where it shows all tasks."""
        found = self.data.get("filters")
        return found if isinstance(found, dict) else {}
