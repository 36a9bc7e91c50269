"""What is lost while workers, the server, Redis and PostgreSQL are killed at every point of a round: counted."""

from __future__ import annotations

import itertools
import os
import random
import signal
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from rich.table import Table

from clinical_backend.lab.benchmarks.testbed import Testbed, open_testbed
from clinical_backend.lab.demo.reading import CLASS_CONTROL
from clinical_backend.lab.servers.faults import POINTS
from clinical_backend.lab.servers.label_studio_admin import LabelStudioAdmin
from clinical_backend.lab.servers.simulated_reader import SimulatedReader
from clinical_backend.labelstudio.labeling.labels import read_labels
from clinical_backend.labelstudio.labeling.scheme import read_scheme
from clinical_backend.storage.schema import RoundState

if TYPE_CHECKING:
    from clinical_backend.storage.schema import Round

__all__ = ["main"]

_TASKS = 400
_RARE = 40
_READ_SECONDS = 3.0
_AWAY = (0.0, 2.0)
"""More tasks than are read in a run, by one who is quicker than people. What was killed is away for at most two
seconds, as where an orchestrator starts it again."""
_VICTIMS = ("worker", "server", "Redis", "Redis, data lost")


@dataclass
class _Reading:
    """What the simulated reader did and met."""

    given: dict[int, str] = field(default_factory=dict)
    not_served: int = 0
    slowest: float = 0.0


@dataclass(frozen=True)
class _Kill:
    """What was killed while a round waited at a point, which queue was served then, and how long the next one took."""

    victim: str
    point: str
    queue: str
    seconds: float


def main(kills: int, state: Literal["sqlite", "postgresql"]) -> None:
    """Run the trial and print its tables."""
    console = Console()
    with open_testbed(state, tasks=_TASKS, rare=_RARE) as testbed:
        reading, done = _kill_while_reading(testbed, kills, console)
        testbed.ask()  # the reader's last labels may be too few for a round to be due: this one reads them all back
        testbed.settle()
        console.print(_outcome(testbed, reading, done, state))
        console.print(_kills(done))


def _kill_while_reading(testbed: Testbed, kills: int, console: Console) -> tuple[_Reading, list[_Kill]]:
    draw = random.Random(0)
    victims = _VICTIMS if testbed.postgresql is None else (*_VICTIMS, "PostgreSQL")
    pairs = list(itertools.product(POINTS, victims))
    draw.shuffle(pairs)
    ended = threading.Event()
    done: list[_Kill] = []
    with ThreadPoolExecutor(1) as readers:
        reading = readers.submit(_read, testbed, ended)
        try:
            for point, victim in itertools.islice(itertools.cycle(pairs), kills):
                done.append(_kill(testbed, victim, point, draw.uniform(*_AWAY)))
                console.print(f"{len(done)}: {done[-1]}")
        except KeyboardInterrupt:  # what was tried until now is worth counting
            _restart(testbed)
        finally:
            ended.set()
    return reading.result(), done


def _read(testbed: Testbed, ended: threading.Event) -> _Reading:
    """Annotate what Label Studio serves, by the true labels, until the end."""
    done = _Reading()
    with LabelStudioAdmin(testbed.client.url, testbed.backend.environment["LABEL_STUDIO_API_KEY"]) as client:
        reader = SimulatedReader(client)
        while not ended.wait(_READ_SECONDS):
            task = reader.next(testbed.id)
            if task is None:
                done.not_served += len(done.given) < _TASKS
                continue
            name = testbed.demo.truth[task.id]
            started = time.perf_counter()
            reader.annotate(task, {CLASS_CONTROL: [name]})
            done.slowest = max(done.slowest, time.perf_counter() - started)
            done.given[task.id] = name
    return done


def _kill(testbed: Testbed, victim: str, point: str, away: float) -> _Kill:
    """Have a round wait at a point, kill one, let the round go on, start the one again; wait for the next queue."""
    faults = testbed.workers.faults
    faults.hold_at(point)
    testbed.ask()
    worker = testbed.wait(lambda: faults.held_at(point), f"No round came to {point}.")
    held, before = testbed.rounds()[-1], testbed.stores.rounds.published(testbed.id)
    started = time.time()
    if victim == "worker":
        os.kill(worker, signal.SIGKILL)
    elif victim == "server":
        testbed.backend.kill()
    elif victim == "PostgreSQL" and testbed.postgresql is not None:
        testbed.postgresql.kill()
    else:
        testbed.redis.kill()
    served = testbed.client.project(testbed.id).model_version
    stored = testbed.client.model_versions(testbed.id).get(served, 0)
    faults.release(point)
    time.sleep(away)
    _restart(testbed, empty=victim == "Redis, data lost")
    queue = _name(testbed, served, stored, before, held)
    published = testbed.wait(
        lambda: _published_since(testbed, started), f"No queue came after {victim} died at {point}."
    )
    return _Kill(victim, point, queue, published - started)


def _name(testbed: Testbed, served: str, stored: int, before: Round | None, held: Round) -> str:
    """Say which queue readers were served from, as Label Studio held it when the victim was dead."""
    known = {row.version: name for row, name in ((before, "old"), (held, "new")) if row is not None}
    row = next((row for row in (before, held) if row is not None and row.version == served), None)
    whole = row is not None and stored == len(testbed.stores.rounds.queue(row.id))
    return known[served] if whole else "MIXED"


def _published_since(testbed: Testbed, moment: float) -> float | None:
    """Return when the first round after a moment was published; ``None`` while none was."""
    ends = [row.finished_at for row in testbed.rounds() if row.state is RoundState.PUBLISHED]
    return min((end for end in ends if end is not None and end > moment), default=None)


def _restart(testbed: Testbed, *, empty: bool = False) -> None:
    """Start again what was killed; workers come back by themselves."""
    for point in POINTS:
        testbed.workers.faults.release(point)
    if testbed.redis.process_id is None:
        testbed.redis.start(empty=empty)
    if testbed.postgresql is not None and testbed.postgresql.process_id is None:
        testbed.postgresql.start()
    if testbed.backend.process_id is None:
        testbed.backend.start()


def _outcome(testbed: Testbed, reading: _Reading, kills: list[_Kill], state: str) -> Table:
    rounds = testbed.rounds()
    states = [row.state for row in rounds]
    project = testbed.client.project(testbed.id)
    there = read_labels(read_scheme(project.label_config), testbed.client.annotated_tasks(testbed.id)).classes
    known = {task: entry.label for task, entry in testbed.stores.labels.all(testbed.id).items() if entry.label}
    published = testbed.stores.rounds.published(testbed.id)
    version, queue = (published.version, testbed.stores.rounds.queue(published.id)) if published else ("", [])
    queues = [kill.queue for kill in kills]
    rows: list[tuple[str, object]] = [
        ("annotations given", len(reading.given)),
        ("of them missing or wrong in Label Studio", sum(there.get(t) != c for t, c in reading.given.items())),
        (
            "labels in Label Studio / in the backend / different",
            f"{len(there)} / {len(known)} / {_differ(there, known)}",
        ),
        ("queue while one was dead: old and whole / new and whole", f"{queues.count('old')} / {queues.count('new')}"),
        ("queue while one was dead: neither", queues.count("MIXED")),
        ("times that the reader was served nothing while tasks were left", reading.not_served),
        ("longest that one annotation took, s", f"{reading.slowest:.1f}"),
        ("rounds published", states.count(RoundState.PUBLISHED)),
        ("rounds cut off, and run again", states.count(RoundState.ABANDONED)),
        ("rounds failed, and run again", states.count(RoundState.FAILED)),
        ("rounds left running", states.count(RoundState.RUNNING)),
        ("rounds that ran at the same time as another", _overlaps(rounds)),
        ("Label Studio serves the published queue", "yes" if project.model_version == version else "NO"),
        (
            "its predictions there / its tasks",
            f"{testbed.client.model_versions(testbed.id).get(version, 0)} / {len(queue)}",
        ),
    ]
    table = Table(title=f"{len(kills)} kills while a reader annotates; state in {state}")
    table.add_column("counted")
    table.add_column("", justify="right")
    for name, value in rows:
        table.add_row(name, str(value))
    return table


def _differ(there: dict[int, str], known: dict[int, str]) -> int:
    return sum(there.get(task) != known.get(task) for task in there.keys() | known.keys())


def _overlaps(rounds: list[Round]) -> int:
    return sum(later.started_at < (earlier.finished_at or 0.0) for earlier, later in itertools.pairwise(rounds))


def _kills(kills: list[_Kill]) -> Table:
    """Count kills by victim and point, and say how long it took until the next queue was published."""
    victims = sorted({kill.victim for kill in kills})
    waits = {victim: [kill.seconds for kill in kills if kill.victim == victim] for victim in victims}
    table = Table(title="Kills by point of the round, and seconds until the next queue was published")
    table.add_column("point")
    for victim in victims:
        table.add_column(victim, justify="right")
    for point in POINTS:
        here = [kill.victim for kill in kills if kill.point == point]
        table.add_row(point, *(str(here.count(victim)) for victim in victims))
    table.add_row("seconds: median", *(f"{statistics.median(waits[victim]):.1f}" for victim in victims))
    table.add_row("seconds: most", *(f"{max(waits[victim]):.1f}" for victim in victims))
    return table
