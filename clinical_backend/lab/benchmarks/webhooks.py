"""Webhooks while rounds run: the same one many times at once, and many a second for a while."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import httpx2
import psutil
from rich.console import Console
from rich.table import Table

from clinical_backend.lab.benchmarks.testbed import open_testbed
from clinical_backend.storage.schema import RoundState

if TYPE_CHECKING:
    from clinical_backend.lab.benchmarks.testbed import Testbed

__all__ = ["main"]

_TASKS = 200
_RARE = 20
_AT_ONCE = 50
"""A small project, since the server is measured; as many at once as docs/reliability.md reports."""
_MIB = 2**20


@dataclass
class _Answers:
    """What the webhooks were answered, and the server's resident memory each second, in MiB."""

    statuses: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)


def main(rate: int, seconds: int, state: Literal["sqlite", "postgresql"]) -> None:
    """Run both trials and print their tables."""
    console = Console()
    with open_testbed(state, tasks=_TASKS, rare=_RARE) as testbed:
        event = {"action": "START_TRAINING", "project": {"id": testbed.id}}
        testbed.workers.faults.hold_at("fit")
        testbed.ask()
        testbed.wait(lambda: testbed.workers.faults.held_at("fit"), "No round came to fit.")
        before = len(testbed.rounds())
        burst = asyncio.run(_send(testbed, [event] * _AT_ONCE, rate=None))
        testbed.workers.faults.release("fit")
        testbed.settle()
        title = f"The same webhook {_AT_ONCE} times at once while a round runs; state in {state}"
        console.print(_table(title, burst, len(testbed.rounds()) - before))
        before = len(testbed.rounds())
        draw = random.Random(0)
        tasks = sorted(testbed.demo.truth)
        load = asyncio.run(
            _send(testbed, [_annotated(testbed, draw.choice(tasks)) for _ in range(rate * seconds)], rate)
        )
        running = testbed.rounds()[before:]
        testbed.settle()
        title = f"{rate} webhooks a second for {seconds} s while rounds run; state in {state}"
        console.print(_table(title, load, sum(row.state is not RoundState.FAILED for row in running)))


def _annotated(testbed: Testbed, task: int) -> dict[str, Any]:
    """Return what Label Studio tells of an annotation; every fifth makes a round due."""
    annotation = {"id": task, "result": [{"from_name": "diagnosis", "value": {"choices": ["common"]}}]}
    return {
        "action": "ANNOTATION_CREATED",
        "project": {"id": testbed.id},
        "task": {"id": task, "data": {}},
        "annotation": annotation,
    }


async def _send(testbed: Testbed, events: list[dict[str, Any]], rate: float | None) -> _Answers:
    """Send events at their times, whether or not those before are answered; with no rate, all at once.

    Time counts from when an event was to be sent, so that waiting for a slow server is not left out.
    """
    answers = _Answers()
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=100)
    async with httpx2.AsyncClient(base_url=testbed.backend.url, timeout=60.0, limits=limits) as http:
        began = time.perf_counter()

        async def send(event: dict[str, Any], at: float) -> None:
            await asyncio.sleep(began + at - time.perf_counter())
            try:
                status = str((await http.post("/webhook", json=event)).status_code)
            except httpx2.TransportError as error:
                status = type(error).__name__
            answers.seconds.append(time.perf_counter() - began - at)
            answers.statuses[status] += 1

        watching = asyncio.create_task(_watch_memory(testbed, answers))
        await asyncio.gather(*(send(event, number / rate if rate else 0.0) for number, event in enumerate(events)))
        watching.cancel()
    answers.memory.append(_memory(testbed))
    return answers


async def _watch_memory(testbed: Testbed, answers: _Answers) -> None:
    while True:
        answers.memory.append(_memory(testbed))
        await asyncio.sleep(1.0)


def _memory(testbed: Testbed) -> float:
    size: int = psutil.Process(testbed.backend.process_id).memory_info().rss
    return size / _MIB


def _table(title: str, answers: _Answers, rounds: int) -> Table:
    taken = [1000 * seconds for seconds in sorted(answers.seconds)]
    cuts = statistics.quantiles(taken, n=100, method="inclusive")
    refused = {status: count for status, count in answers.statuses.items() if status != "200"}
    rows: list[tuple[str, object]] = [
        ("sent", len(taken)),
        ("refused or not answered", ", ".join(f"{count} {status}" for status, count in refused.items()) or 0),
        ("answered in, ms: median", f"{statistics.median(taken):.0f}"),
        ("95th / 99th percentile", f"{cuts[94]:.0f} / {cuts[98]:.0f}"),
        ("most", f"{taken[-1]:.0f}"),
        ("rounds begun meanwhile or due after", rounds),
        ("server's memory before / most / after, MiB", " / ".join(f"{size:.0f}" for size in _three(answers.memory))),
    ]
    table = Table(title=title)
    table.add_column("counted")
    table.add_column("", justify="right")
    for name, value in rows:
        table.add_row(name, str(value))
    return table


def _three(memory: list[float]) -> tuple[float, float, float]:
    return memory[0], max(memory), memory[-1]
