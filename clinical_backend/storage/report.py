"""The report of a round: what it measured and chose. Rounds write it, and everybody else reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import TypeAdapter

from clinical_backend.origins import Draw
from clinical_backend.storage.recipe import Recipe

__all__ = [
    "Asked",
    "Counts",
    "Evaluation",
    "Kind",
    "Preannotation",
    "PromotionReport",
    "Question",
    "RoundReport",
    "SecondLook",
]


class Kind(StrEnum):
    """What a question is about."""

    WHICH = "which finding is rare"
    """Nobody chose anything, and nothing is tagged."""
    RARE_SO_FAR = "rare so far"
    """A class of which few labels are, while nobody chose anything."""
    ALSO = "look for it too"
    """Tagged cases are of a class that is not looked for."""
    UNKNOWN = "no such class"
    """A class was chosen that the labeling config does not have."""
    COMMON = "common"
    """What is looked for is common."""
    BOTH_TAGS = "tagged both ways"
    """Cases are tagged "more like this" and "not like this"."""
    AGAINST = "tagged against its class"
    """Cases of a class that is looked for are tagged "not like this"."""
    CHANGED = "changed in Label Studio"
    """A setting of the project is another one than was set; its name is the place, see :mod:`drift`."""


@dataclass(frozen=True, slots=True)
class Question:
    """What the lead is asked, or should know.

    Attributes
    ----------
    kind
        What it is about.
    name
        The class; ``None`` where it is about none.
    tasks
        The first cases that it is about.
    evidence
        Why it is asked, in a sentence or two.
    """

    kind: Kind
    name: str | None
    tasks: tuple[int, ...]
    evidence: str

    @property
    def is_yes_or_no(self) -> bool:
        """Whether yes or no answers it: look for the class, or not."""
        return self.kind in {Kind.ALSO, Kind.RARE_SO_FAR}

    @property
    def asks(self) -> str:
        """The question itself, or what is wrong, in a few words."""
        return {
            Kind.WHICH: "Which finding is rare?",
            Kind.RARE_SO_FAR: f"Look for {self.name}?",
            Kind.ALSO: f"Look for {self.name} too?",
            Kind.UNKNOWN: f"There is no class {self.name}",
            Kind.COMMON: f"Is {self.name} rare?",
            Kind.BOTH_TAGS: "Tagged both ways",
            Kind.AGAINST: f"Tagged “not like this”, and {self.name}",
            Kind.CHANGED: f"Changed in Label Studio: {self.name}",
        }[self.kind]

    def as_problem(self, page: str) -> tuple[str, str]:
        """Return it as a problem with its cure, given the address of the project's page."""
        named = f" Tasks: {', '.join(map(str, self.tasks))}." if self.tasks else ""
        return f"{self.asks}{'' if self.asks.endswith('?') else '.'} {self.evidence}{named}", f"Answer on {page}."

    def to_json(self) -> dict[str, Any]:
        """Return it as databases and replies hold it."""
        return asdict(self) | {"asks": self.asks, "tasks": list(self.tasks)}


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of tasks.

    Attributes
    ----------
    pool
        Without an answer; copies of others are left out.
    unreadable, waiting
        Of the pool: whose image cannot be read, and whose image no round has had the time for.
    held_back
        Of the waiting ones, those of a host that is slow or away.
    copies
        Whose image is an exact copy of an answered or queued one.
    skipped
        That a reader skipped.
    labelled, unread
        With a class, and with an answer of which no class can be read.
    exemplars, query
        That stand for the target: tagged ones, and all that steer the ranking.
    embedded
        Whose feature this round made.
    queue
        In the queue, but for second readings.
    skipped_in_queue
        Of these, skipped by a reader before.
    second_readings
        In the queue to be read again.
    """

    pool: int = 0
    unreadable: int = 0
    waiting: int = 0
    held_back: int = 0
    copies: int = 0
    skipped: int = 0
    labelled: int = 0
    unread: int = 0
    exemplars: int = 0
    query: int = 0
    embedded: int = 0
    queue: int = 0
    skipped_in_queue: int = 0
    second_readings: int = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """A second reading as a round asks for it.

    Attributes
    ----------
    task_id
        The task.
    label
        Its class.
    readings
        How many readers answered it; 0 where an import or a model did.
    suspicion
        How much speaks against the label, where that is why.
    at_random
        Whether it was drawn at random.
    by_lead
        Whether the lead asked for it.
    """

    task_id: int
    label: str
    readings: int
    suspicion: float | None = None
    at_random: bool = False
    by_lead: bool = False


@dataclass(frozen=True, slots=True)
class SecondLook:
    """The second readings of a round.

    Attributes
    ----------
    asked
        In the order in which they stand in the queue.
    drawn_read
        Tasks on which a random draw fell that were read twice already: they count as drawn.
    waiting
        Doubtful labels that found no place.
    problem
        Why nobody is asked although somebody wanted it, with the cure; ``None`` where nothing is in the way.
    """

    asked: tuple[Asked, ...] = ()
    drawn_read: tuple[int, ...] = ()
    waiting: int = 0
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class PromotionReport:
    """Whether a round's classifier took the place of the published one.

    Attributes
    ----------
    promoted
        Whether it did; ``None`` where the round ended before that was asked.
    reason
        For people.
    rare, labels
        Rare cases, and all, that the two were compared on.
    candidate, published
        Average precision of the rare classes by either; ``None`` where they were not compared.
    """

    promoted: bool | None = None
    reason: str = ""
    rare: int | None = None
    labels: int | None = None
    candidate: float | None = None
    published: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what is known, as databases and replies hold it."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class FindingMeasures:
    """Measures of one of several findings on the labels that say something of it, as the strategy took them.

    ``present`` of ``labels`` give it; its probabilities are ``predicted`` on average, near that share if they hold.
    """

    name: str
    present: int
    labels: int
    average_precision: float | None
    recall_at_specificity: float | None
    predicted: float | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Measures of a classifier on labelled tasks, each judged by a training that had not seen it.

    Attributes
    ----------
    classes
        The C classes.
    confusion
        Counts, C × C: true class by row, most likely class by column.
    support
        Labelled tasks by class.
    method
        In one sentence.
    findings
        Where an image may have several findings: measures of each, in place of all that is of classes.
    together
        Labelled tasks that have both of two findings, F × F.
    """

    classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    support: tuple[int, ...]
    method: str
    findings: tuple[FindingMeasures, ...] = ()
    together: tuple[tuple[int, ...], ...] = ()

    def called(self, name: str) -> tuple[int, int] | None:
        """Return how often the class was right of how often it was the most likely one; ``None`` where it never was."""
        if name not in self.classes:
            return None
        column = self.classes.index(name)
        said = sum(row[column] for row in self.confusion)
        return (self.confusion[column][column], said) if said else None


@dataclass(frozen=True, slots=True)
class Preannotation:
    """What readers of a queue may get ticked.

    Attributes
    ----------
    mode
        PREANNOTATE, as it held.
    confident
        Tasks whose class is proven, by class.
    proofs
        The figures of each proof, by class.
    """

    mode: str = "off"
    confident: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    proofs: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @classmethod
    def of(cls, mode: str, classes: Mapping[int, str], proofs: Mapping[str, Mapping[str, float]]) -> Preannotation:
        """Return it of the proven class of each task."""
        names = dict.fromkeys(classes.values())
        return cls(mode, {name: tuple(task for task in classes if classes[task] == name) for name in names}, proofs)

    @property
    def classes(self) -> dict[int, str]:
        """The proven class of each such task."""
        return {task: name for name, tasks in self.confident.items() for task in tasks}


@dataclass(frozen=True, slots=True)
class RoundReport:
    """What a round measured and chose; empty while it runs, and where it failed.

    Attributes
    ----------
    acquisition, reason
        What ordered the queue, and why that was chosen.
    class_control, not_learnt
        The control whose classes were learnt, and the others.
    target
        Classes that were looked for.
    questions
        What the lead was asked.
    newest_task
        Greatest id of a task, which tells what came later; ``None`` in reports of earlier versions.
    counts
        Numbers of tasks.
    second_look
        What is read a second time.
    measurements
        Figures of the cross-validation, by name.
    promotion
        Whether the round's classifier was published.
    evaluation
        How good the published one is; ``None`` where too few labels judge one.
    chances
        What the stated chances rest on, or what is missing.
    features
        Which features were used, and why.
    preannotations
        Which model answered: none, the ``head``, or for how many tasks a fine-tuned network did; ``None`` in reports
        of earlier versions.
    preannotation
        What may be ticked; ``None`` in reports of earlier versions.
    seconds
        By stage.
    doubtful_labels
        What is wrong with answers, with the cures.
    notes, recipe
        All that people should know of the round; what its queue was made with.
    """

    acquisition: str | None = None
    reason: str = ""
    class_control: str | None = None
    not_learnt: tuple[str, ...] = ()
    target: tuple[str, ...] = ()
    questions: tuple[Question, ...] = ()
    newest_task: int | None = None
    counts: Counts = Counts()
    second_look: SecondLook = SecondLook()
    measurements: Mapping[str, float] = field(default_factory=dict)
    promotion: PromotionReport = PromotionReport()
    evaluation: Evaluation | None = None
    chances: str = ""
    features: str = ""
    preannotations: str | None = None
    preannotation: Preannotation | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    doubtful_labels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    recipe: Recipe = field(default_factory=Recipe)

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> RoundReport:
        """Return what a database holds, be it of an earlier version: what that did not know is as by default.

        Raises
        ------
        ValueError
            When it is no report.
        """
        return _ADAPTER.validate_python({name: value for name, value in dict(kept).items() if value is not None})

    def to_json(self) -> dict[str, Any]:
        """Return it as databases and replies hold it; nothing of an empty one."""
        if self == RoundReport():
            return {}
        kept: dict[str, Any] = _ADAPTER.dump_python(self, mode="json")
        kept["questions"] = [question.to_json() for question in self.questions]
        kept["promotion"] = self.promotion.to_json()
        return kept

    def led(self, task_id: int, draw: Draw | None) -> bool:
        """Tell whether a reader of the queue was, or may have been, shown a class with a task."""
        if self.preannotation is None:  # an earlier version may have ticked everything
            return self.preannotations != "none"
        if self.preannotation.mode == "all":
            return draw is not Draw.AUDIT
        return self.preannotation.mode == "confident" and task_id in self.preannotation.classes


_ADAPTER = TypeAdapter(RoundReport)
