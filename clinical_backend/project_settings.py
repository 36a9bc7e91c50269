"""The settings that one project may have for itself: the one place of their bounds, defaults and effects."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import NoDecode

from clinical_backend.text import read_json

__all__ = ["Goal", "Names", "Preannotate", "ProjectOptions", "ProjectSettings", "QueueEffect", "effect_on_queue"]

Seconds = Annotated[float, Field(gt=0)]
Blocks = Literal["all"] | Annotated[int, Field(ge=1)]


def _acquisition(value: object) -> object:
    """Refuse an acquisition that no project may set; which these are is slow to import, and few set one."""
    if value == "auto":
        return value
    from clinical_backend.acquisition import settable  # noqa: PLC0415

    *names, last = (f"'{name}'" for name in ("auto", *settable()))
    if f"'{value}'" in (*names, last):
        return value
    expected = {"expected": f"{', '.join(names)} or {last}"}
    raise PydanticCustomError("literal_error", "Input should be {expected}", expected)


def _mode(value: object) -> object:
    """Read a yes or no, as earlier versions had it, as showing every class or none."""
    text = str(value).strip().lower()
    if text in {"true", "1", "yes", "on"}:
        return "all"
    return "off" if text in {"false", "0", "no"} else value


def _split(value: object) -> object:
    """Accept a string where a tuple of strings is meant: separated by commas, or a JSON list for names with commas."""
    if isinstance(value, str):
        if value.lstrip().startswith("["):
            with suppress(ValueError):
                return read_json(value)
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


Goal = Literal["rare", "classifier"]
QueueEffect = Literal["order", "none", "read"]
Acquisition = Annotated[str, BeforeValidator(_acquisition)]
Preannotate = Annotated[Literal["off", "confident", "all"], BeforeValidator(_mode)]
Names = Annotated[tuple[str, ...], BeforeValidator(_split)]


class ProjectSettings(BaseModel):
    """What one project may set for itself: each with its default, its bounds, and what it does.

    One with a title has an entry on the project's page; ``unit`` stands behind a number there, and ``choices`` says
    what each value means, and ``expert`` that it is for those who know the methods. ``queue`` says of what changes no
    place of a queue ``none``, and ``read`` of what does so in a way that only a round can tell, which reads answers by
    it. An empty ``rare_classes``, ``group_field``, ``class_control`` or ``site_field`` says that there is none.
    """

    acquisition: Acquisition = Field(
        default="auto",
        title="Order of the queue",
        description="What puts a task first. Automatic is what found most in the measurements of the documentation.",
        json_schema_extra={"expert": True},
    )
    goal: Goal = Field(
        default="rare",
        title="What the labels are for",
        description="Holds with the automatic order, once a finding is looked for.",
        json_schema_extra={
            "choices": {
                "rare": "to find rare cases: as many as can be found",
                "classifier": "to find rare cases, and for a classifier of all classes: a quarter of the queue",
            }
        },
    )
    queue_size: int = Field(
        default=200,
        ge=1,
        le=5000,
        title="Queue size",
        description="Tasks that a round publishes. A shorter queue follows new labels more closely; a longer one lasts"
        " when rounds are slow.",
        json_schema_extra={"unit": "tasks"},
    )
    audit_share: float = Field(
        default=0.1,
        ge=0.0,
        le=0.9,
        title="Audit share",
        description="Share of the queue that is drawn at random. These draws alone tell how frequent the rare cases are"
        " and how many may be left: a larger share narrows the intervals and finds fewer.",
        json_schema_extra={"unit": "%"},
    )
    second_look_share: float = Field(
        default=0.0,
        ge=0.0,
        le=0.4,
        title="Second look",
        description="Share of the queue that holds doubtful labels: another reader than the first one reads them again,"
        " in the ordinary stream and without the first answer. Needs two readers. 0: nobody is asked.",
        json_schema_extra={"unit": "%"},
    )
    second_look_random_share: float = Field(
        default=0.0,
        ge=0.0,
        le=0.4,
        title="Ordinary cases read again",
        description="Share of the queue that holds answered tasks drawn at random, to be read again in the same way."
        " They tell how far readers agree on ordinary cases; doubtful labels tell of hard ones only.",
        json_schema_extra={"unit": "%"},
    )
    target_recall: float = Field(
        default=0.95,
        ge=0.5,
        le=0.99,
        title="Recall to reach",
        description="Share of the rare cases that is to be found. The page says when it is, with 95 % confidence, by"
        " the random draws: a higher one takes far more of them.",
        json_schema_extra={"queue": "none", "unit": "%"},
    )
    start_training_each_n_updates: int = Field(
        default=10,
        ge=1,
        title="Labels until the next round",
        description="A round is due after so many annotations were made or changed.",
        json_schema_extra={"queue": "none", "unit": "labels"},
    )
    training: Literal["head", "finetune"] = Field(
        default="head",
        title="Training",
        description="What learns from the labels.",
        json_schema_extra={
            "queue": "none",
            "expert": True,
            "choices": {
                "head": "a linear classifier of fixed features: seconds",
                "finetune": "the network as well, in the background: minutes",
            },
        },
    )
    finetuning_seconds: Seconds = Field(
        default=300.0, description="How long fine-tuning may take.", json_schema_extra={"queue": "none"}
    )
    finetuning_blocks: Blocks = Field(
        default=2,
        description="How many of the backbone's last blocks are fine-tuned, or ``all``.",
        json_schema_extra={"queue": "none"},
    )
    rare_classes: Annotated[Names, NoDecode] = Field(
        default=(),
        description="Classes to look for, whatever is tagged, separated by commas, or as a JSON list. Without any, the"
        " classes of the tagged exemplars are.",
    )
    exemplar_control: str = Field(
        default="exemplar",
        min_length=1,
        description="Name of the ``Choices`` control with which readers tag exemplars.",
        json_schema_extra={"queue": "read"},
    )
    stars: bool = Field(
        default=False,
        title="Stars",
        description="Whether a reader's star on an answer tags it as an exemplar, and settles a tie. Stars that came"
        " with an import never do.",
        json_schema_extra={"queue": "read", "expert": True},
    )
    preannotate: Preannotate = Field(
        default="off",
        title="Pre-annotations",
        description="Which tasks come with the model's class ticked. A reader who trusts it will miss the rare case in"
        " which it is wrong.",
        json_schema_extra={
            "queue": "none",
            "choices": {
                "off": "none: readers start from a blank form",
                "confident": "only where held-out labels prove the class right",
                "all": "all but random draws: also where the model may well be wrong",
            },
        },
    )
    class_control: str | None = Field(
        default=None,
        max_length=200,
        title="Control that is learnt",
        description="Which control of the labeling config holds the classes. Without a choice, the first that can be"
        " learnt.",
        json_schema_extra={"queue": "read", "expert": True},
    )
    empty_answer: Literal["auto", "no finding", "not answered"] = Field(
        default="auto",
        title="Empty answers",
        description="What an answer says in which none of several findings is ticked.",
        json_schema_extra={
            "queue": "read",
            "choices": {
                "auto": "no finding, unless the labeling config has a choice for that or requires an answer",
                "no finding": "that there is no finding",
                "not answered": "nothing: the task is not learnt from",
            },
        },
    )
    group_field: str | None = Field(
        default=None,
        max_length=200,
        title="Patient or study",
        description="Field of the tasks' data that names the patient or study. Tasks of one never sit in both training"
        " and validation, and do not fill a queue. Empty: every task stands for itself.",
        json_schema_extra={"queue": "read"},
    )
    group_cap: int = Field(
        default=1,
        ge=1,
        title="Tasks of one patient in a queue",
        description="At most so many of one patient or study are in a queue at a time.",
        json_schema_extra={"unit": "tasks"},
    )
    site_field: str | None = Field(
        default=None,
        max_length=200,
        title="Site",
        description="Field of the tasks' data that names where a case comes from, such as a site or a scanner: the page"
        " of the queue can be filtered by it. Its values are kept in the backend's database.",
        json_schema_extra={"queue": "none"},
    )


class ProjectOptions(ProjectSettings):
    """What one project sets for itself, on its page or through the backend's "Extra params" in Label Studio.

    Only what is set counts; what is not, or is ``None``, keeps what the backend has.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _without_none(cls, given: Any) -> Any:  # noqa: ANN401 - what is no mapping is refused by the model
        return {name: value for name, value in given.items() if value is not None} if isinstance(given, dict) else given


def effect_on_queue(name: str) -> QueueEffect:
    """Tell how a setting changes which tasks are queued: ``order`` from what is stored, ``read`` once answers are."""
    extra = ProjectOptions.model_fields[name].json_schema_extra
    effect = extra.get("queue") if isinstance(extra, dict) else None
    return "order" if effect is None else cast("QueueEffect", effect)
