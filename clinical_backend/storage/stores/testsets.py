"""Test sets: what was asked for and drawn, what readers said of their tasks, and what published models say."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import bindparam, func, insert, select, update

from clinical_backend.storage.schema import ReservedTask, Testset, TestsetScores
from clinical_backend.storage.statements import in_transactions, set_columns
from clinical_backend.storage.stores.projects import locked_project
from clinical_backend.storage.trail import TrailAction, note_action

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from sqlalchemy.orm import Session

    from clinical_backend.storage.database import Database

__all__ = ["KeptScores", "ReservedDraw", "ReservedWish", "TestsetStore", "forget_scores"]


@dataclass(frozen=True, slots=True)
class ReservedWish:
    """What is to be drawn.

    Attributes
    ----------
    size
        How many tasks at least; of an extension 0: as large a share of what came later as was drawn before.
    seed
        Of the draw.
    by, at
        Who asked for it, and when, in seconds since the epoch.
    extend
        Whether it is to be drawn from tasks that came after the last draw.
    """

    size: int
    seed: int
    by: str
    at: float
    extend: bool = False


@dataclass(frozen=True, slots=True)
class ReservedDraw:
    """What was drawn from what, whole patients at a time.

    Attributes
    ----------
    size, seed, by
        As they were asked for.
    at
        When it was drawn, in seconds since the epoch.
    tasks, patients
        How many could be drawn: those of patients of whom nobody had answered anything. Where tasks name no patient,
        each stands for itself.
    drawn, drawn_patients
        How many were.
    excluded
        Tasks that could not be drawn, since they, or others of their patients, had an answer.
    after, newest
        Those with an id above ``after``, up to ``newest``.
    grouped_by
        Field of the tasks' data that named the patients; ``None`` for none.
    """

    size: int
    seed: int
    by: str
    at: float
    tasks: int
    patients: int
    drawn: int
    drawn_patients: int
    excluded: int
    after: int
    newest: int
    grouped_by: str | None

    @property
    def probability(self) -> float:
        """The chance that each patient, and so each task, had to be drawn.

        All patients have the same but for the size of the last one that was drawn, which matters where one patient has
        many of the tasks.
        """
        return self.drawn_patients / self.patients if self.patients else 0.0


@dataclass(frozen=True, slots=True)
class KeptScores:
    """What a published model says of the tasks of a test set, as it was kept when the model was published.

    Attributes
    ----------
    version, round_number
        Of the round that published it.
    made_in
        Number of the round that learnt it.
    several
        Whether an image may have several of the classes.
    classes
        The C classes, or findings, that it learnt.
    tasks
        Shape (n,), int64.
    probabilities
        Shape (n, C), float32.
    """

    version: str
    round_number: int
    made_in: int
    several: bool
    classes: tuple[str, ...]
    tasks: NDArray[np.int64]
    probabilities: NDArray[np.float32]


class TestsetStore:
    """Reads and changes the test set of each project."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, project_id: int) -> Testset | None:
        """Return the row of a project's test set; ``None`` where none was asked for."""
        with self._database.read() as session:
            return session.get(Testset, project_id)

    def draws(self, project_id: int) -> list[ReservedDraw]:
        """Return what was drawn so far."""
        row = self.get(project_id)
        return [] if row is None else [ReservedDraw(**draw) for draw in row.draws]

    def wish(self, project_id: int) -> ReservedWish | None:
        """Return what the next round is to draw."""
        row = self.get(project_id)
        return None if row is None or row.wish is None else ReservedWish(**row.wish)

    def ask(self, project_id: int, wish: ReservedWish, *, readings: int | None = None) -> None:
        """Have the next round draw; ``readings`` says of how many readers an answer is wanted to each task."""
        with self._database.write() as session:
            if locked_project(session, project_id) is None:
                return
            row = session.get(Testset, project_id)
            if row is None:
                row = Testset(project_id=project_id, readings=1, draws=[])
                session.add(row)
            row.readings = row.readings if readings is None else readings
            row.wish, row.problem = asdict(wish), None
            told = {"size": wish.size, "seed": wish.seed, "extend": wish.extend, "readings": row.readings}
            note_action(session, TrailAction.TEST_SET_ASKED, project_id, **told)

    def refuse(self, project_id: int, problem: str | None) -> None:
        """Note why what was asked for cannot be drawn, and give it up; ``None`` takes back what was noted."""
        with self._database.write() as session:
            session.execute(update(Testset).where(Testset.project_id == project_id).values(wish=None, problem=problem))

    def add(self, project_id: int, draw: ReservedDraw, tasks: Sequence[int]) -> None:
        """Keep what was drawn, in the order in which it is read."""
        with self._database.write() as session:
            if locked_project(session, project_id) is None:
                return
            row = session.get_one(Testset, project_id)
            number = len(row.draws)
            row.draws, row.wish, row.problem = [*row.draws, asdict(draw)], None, None
            _insert(session, project_id, [(task, number) for task in tasks])
            told = {"drawn": draw.drawn, "of": draw.tasks, "seed": draw.seed, "patients": draw.drawn_patients}
            note_action(session, TrailAction.TEST_SET_DRAWN, project_id, **told)

    def join(self, project_id: int, tasks: Mapping[int, int]) -> None:
        """Add tasks that came later to the draws of their patients, which are given by task."""
        with self._database.write() as session:
            if locked_project(session, project_id) is not None:
                _insert(session, project_id, sorted(tasks.items()), joined=True)

    def tasks(self, project_id: int) -> dict[int, ReservedTask]:
        """Return the tasks of a project's test set, in the order in which they are read."""
        query = select(ReservedTask).where(ReservedTask.project_id == project_id).order_by(ReservedTask.place)
        with self._database.read() as session:
            return {row.task_id: row for row in session.scalars(query)}

    def ids(self, project_id: int) -> frozenset[int]:
        """Return the ids of these tasks."""
        query = select(ReservedTask.task_id).where(ReservedTask.project_id == project_id)
        with self._database.read() as session:
            return frozenset(session.scalars(query))

    def note_readings(
        self, project_id: int, readings: Mapping[int, tuple[str | None, int, list[list[Any]] | None]]
    ) -> None:
        """Keep label, number of readings, and answers of each task of the test set; only what changed is written."""
        known = self.tasks(project_id)
        changed = [
            {"task": task, "label": label, "readings": number, "answers": answers}
            for task, (label, number, answers) in readings.items()
            if task in known
            and (known[task].label, known[task].readings, known[task].answers) != (label, number, answers)
        ]
        chosen = update(ReservedTask).where(
            ReservedTask.project_id == project_id, ReservedTask.task_id == bindparam("task")
        )
        set_columns(self._database.write, chosen, ["task"], changed)

    def keep_scores(self, project_id: int, scores: KeptScores) -> None:
        """Keep what a published model says, in place of what was kept of that version."""
        made = TestsetScores(
            project_id=project_id,
            version=scores.version,
            round_number=scores.round_number,
            made_in=scores.made_in,
            several=scores.several,
            classes=list(scores.classes),
            judged_at=time.time(),
            tasks=scores.tasks.astype("<i8").tobytes(),
            probabilities=scores.probabilities.astype("<f4").tobytes(),
        )
        with self._database.write() as session:
            if locked_project(session, project_id) is not None:
                session.merge(made)

    def scores(self, project_id: int, version: str) -> KeptScores | None:
        """Return what the model of a version says; ``None`` where that was not kept."""
        with self._database.read() as session:
            row = session.get(TestsetScores, (project_id, version))
        return None if row is None else _scores(row)

    def every_scores(self, project_id: int, limit: int) -> list[KeptScores]:
        """Return what the latest published models say, one of each round that learnt one, the newest first."""
        newest = (
            select(func.max(TestsetScores.round_number))
            .where(TestsetScores.project_id == project_id)
            .group_by(TestsetScores.made_in)
        )
        query = (
            select(TestsetScores)
            .where(TestsetScores.project_id == project_id, TestsetScores.round_number.in_(newest))
            .order_by(TestsetScores.round_number.desc())
            .limit(limit)
        )
        with self._database.read() as session:
            return [_scores(row) for row in session.scalars(query)]


def forget_scores(session: Session, project_id: int, tasks: Sequence[int]) -> None:
    """Take away what models say of tasks that show another image by now: it would be judged by labels of that one."""
    if not tasks:
        return
    for row in session.scalars(select(TestsetScores).where(TestsetScores.project_id == project_id)):
        known = _scores(row)
        kept = ~np.isin(known.tasks, np.array(tasks, dtype=np.int64))
        if not kept.all():
            row.tasks = known.tasks[kept].astype("<i8").tobytes()
            row.probabilities = known.probabilities[kept].astype("<f4").tobytes()


def _insert(session: Session, project_id: int, tasks: Sequence[tuple[int, int]], *, joined: bool = False) -> None:
    """Insert tasks with their draws, behind those that are there."""
    last = session.scalar(select(func.max(ReservedTask.place)).where(ReservedTask.project_id == project_id))
    first = 0 if last is None else last + 1
    rows = [
        {"project_id": project_id, "task_id": task, "draw": draw, "place": first + place, "joined": joined}
        for place, (task, draw) in enumerate(tasks)
    ]
    for part in in_transactions(rows):
        session.execute(insert(ReservedTask), list(part))


def _scores(row: TestsetScores) -> KeptScores:
    tasks = np.frombuffer(row.tasks, dtype="<i8").astype(np.int64)
    classes = tuple(row.classes)
    probabilities = np.frombuffer(row.probabilities, dtype="<f4").astype(np.float32).reshape(len(tasks), len(classes))
    return KeptScores(row.version, row.round_number, row.made_in, row.several, classes, tasks, probabilities)
