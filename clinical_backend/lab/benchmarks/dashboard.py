"""First paint of every page of a project with many tasks, beside the server's own share, and how smooth its map is.

``clinical bench dashboard``
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table

from clinical_backend.errors import ClinicalError
from clinical_backend.lab.servers.backend_server import BackendServer
from clinical_backend.lab.servers.server import free_port
from clinical_backend.learner.backbones.base import available_cpus
from clinical_backend.learner.neighbourhood import find_neighbourhoods
from clinical_backend.learner.projection import Projection
from clinical_backend.origins import AnswerKind, Draw, Origin
from clinical_backend.storage.database import Database
from clinical_backend.storage.report import Counts, Evaluation, PromotionReport, RoundReport
from clinical_backend.storage.schema import QueuedTask, ReadingState, SecondReading, SuspectedLabel, TaskLabel
from clinical_backend.storage.stores.readings import ReadingValues
from clinical_backend.storage.stores.stores import Stores
from clinical_backend.workspace.map_files import ProjectMap, save_map

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["CONFIG", "fill", "main"]

_PAGES = (
    "",
    "/queue",
    "/map",
    "/map/table",
    "/exemplars",
    "/model",
    "/second-look",
    "/readers",
    "/readers/cases",
    "/settings",
)
_CLASSES = tuple(f"class {code}" for code in range(8))
_ROUNDS, _QUEUE, _EXEMPLARS, _SUSPECTS, _READERS = 50, 500, 200, 200, 8
_REPEATS = 5
"""A large project, with more of each than a page shows; a page is opened so often for a median."""
CONFIG = (
    '<View><Image name="image" value="$image"/><Choices name="diagnosis" toName="image">'
    + "".join(f'<Choice value="{name}"/>' for name in _CLASSES)
    + "</Choices></View>"
)
"""Of the project."""
_FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
_RESPONSE = "performance.getEntriesByType('navigation')[0].responseEnd"
_PANNED_SECONDS = 3
_PANNED = """async (seconds) => {
  const canvas = document.getElementById("map-canvas");
  const place = canvas.getBoundingClientRect();
  const send = (kind, x, y) => canvas.dispatchEvent(new PointerEvent(kind, {
    pointerId: 1, isPrimary: true, bubbles: true, clientX: place.left + x, clientY: place.top + y }));
  canvas.setPointerCapture = () => {};
  send("pointerdown", 300, 300);
  const begun = performance.now();
  let frames = 0;
  while (performance.now() - begun < 1000 * seconds) {
    const along = (performance.now() - begun) / 200;
    send("pointermove", 300 + 80 * Math.sin(along), 300 + 60 * Math.cos(along));
    await new Promise(requestAnimationFrame);
    frames += 1;
  }
  const rate = frames / ((performance.now() - begun) / 1000);
  send("pointerup", 300, 300);
  return rate;
}"""
"""Drags the map in circles, and counts the frames that are shown."""
_SIZES = ((1280, 900), (1920, 1080))


def main(tasks: int = 100_000, labels: int = 20_000) -> None:
    """Fill a database, open each page in a browser, and print the table."""
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415 - of the extra "dev"
    except ImportError:
        raise ClinicalError("Playwright is not installed.", "Install it: pip install '.[dev]'.") from None
    chromium = next((path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), None)
    if chromium is None:
        raise ClinicalError("There is no Chromium on the PATH.", "Install it: apt-get install chromium.")
    table = Table(
        title=f"Milliseconds, median of {_REPEATS}; {tasks:,} tasks, {labels:,} labels; {available_cpus()} CPUs",
        caption="A browser without a cache; previews are left out, since no image is behind these tasks.",
    )
    for heading in ("page", "reply read", "first paint"):
        table.add_column(heading, justify="left" if heading == "page" else "right")
    with tempfile.TemporaryDirectory() as folder:
        database = Database.in_folder(Path(folder))
        fill(Stores(database), tasks, labels)
        draw(Stores(database), Path(folder), tasks)
        database.close()
        # No Label Studio answers there: pages must not wait for it.
        label_studio = f"http://127.0.0.1:{free_port()}"
        with (
            BackendServer(Path(folder), label_studio, "none", RECONCILE_SECONDS=3600) as server,
            sync_playwright() as playwright,
        ):
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            for page in _PAGES:
                times = np.array([_open(browser, f"{server.url}/projects/1{page}") for _ in range(_REPEATS)])
                table.add_row(page or "now and found", *(f"{statistics.median(column):.0f}" for column in times.T))
            smooth = [_smoothness(browser, f"{server.url}/projects/1/map", size) for size in _SIZES]
            browser.close()
    Console().print(table)
    for (across, down), (ready, frames) in zip(_SIZES, smooth, strict=True):
        rate = f"all points are there after {ready:.0f} ms, and it is panned at {frames:.0f} frames a second"
        Console().print(f"The map at {across} × {down}: {rate}.")


def fill(stores: Stores, tasks: int, labels: int) -> None:
    """Make a project with so many tasks and labels, of which 2 % are rare, and with queues of earlier rounds."""
    generator = np.random.default_rng(0)
    now = time.time()
    stores.projects.register(1)
    stores.images.synchronise(1, {task: f"/data/{task}.png" for task in range(1, tasks + 1)}, complete=True)
    stores.images.found(1, {task: f"{task:064x}" for task in range(1, tasks + 1)})
    for number in range(1, _ROUNDS + 1):
        stores.projects.request_round(1, "10 annotations were made or changed", delay=0.0)
        row = stores.rounds.start(1)
        if row is None:
            raise ClinicalError("No round could be begun.", "This is a fault of the benchmark.")
        chosen = generator.choice(tasks, _QUEUE, replace=False) + 1
        stores.rounds.keep_queue(
            [
                QueuedTask(
                    round_id=row.id,
                    rank=rank,
                    task_id=int(task),
                    draw=Draw.AUDIT if rank % 10 == 9 else Draw.TARGET,
                    predicted=_CLASSES[0],
                    probability=0.5,
                    rare_probability=0.3,
                    nearest_exemplar=rank % _EXEMPLARS + 1,
                    similarity=0.7,
                )
                for rank, task in enumerate(chosen)
            ]
        )
        stores.rounds.publish(row, _report(number, tasks), _QUEUE)
    answers = generator.choice(len(_CLASSES), labels, p=[0.02, *[0.14] * 7])
    draws = generator.choice([Draw.AUDIT, Draw.TARGET], labels, p=[0.1, 0.9])
    stores.labels.replace(
        1,
        [
            TaskLabel(
                project_id=1,
                task_id=task + 1,
                label=_CLASSES[answers[task]],
                steer=int(task < _EXEMPLARS),
                origin=Origin.QUEUE,
                draw=draws[task],
                round_number=1 + task * _ROUNDS // labels,
                labelled_at=now - labels + task,
            )
            for task in range(labels)
        ],
    )
    _read(stores, answers.tolist(), now)
    common = [task for task in range(labels) if answers[task]][:_SUSPECTS]
    stores.labels.suspect(
        1,
        [
            SuspectedLabel(
                project_id=1,
                task_id=task + 1,
                label=_CLASSES[answers[task]],
                suspicion=0.9,
                rare_probability=0.8,
                nearest_exemplar=1,
                similarity=0.7,
            )
            for task in common
        ],
    )
    stores.projects.change(1, label_config=CONFIG, request=None, requested_at=None)


def draw(stores: Stores, folder: Path, tasks: int) -> None:
    """Draw a map of a project's tasks, in groups as t-SNE makes them; no image is behind them."""
    generator = np.random.default_rng(0)
    group = generator.integers(0, 40, tasks)
    points = generator.uniform(-1, 1, (40, 2))[group] + generator.normal(scale=0.07, size=(tasks, 2))
    places = points.astype(np.float32)
    row = stores.projects.get(1)
    nothing = np.zeros((0, 2), dtype=np.float32)
    save_map(
        folder / "maps" / "1",
        ProjectMap(
            "benchmark",
            (row.published_version if row else None) or "",
            tasks,
            time.time(),
            Projection(nothing[:, 0], nothing, nothing, nothing),
            np.arange(1, tasks + 1),
            places,
            generator.beta(0.3, 3.0, tasks).astype(np.float32),
            find_neighbourhoods(places[:5000]),
        ),
    )


def _read(stores: Stores, answers: list[int], now: float) -> None:
    """Let readers have given the labels within 90 days, and every tenth have been read twice, one in ten otherwise."""
    stores.readings.replace(
        1,
        [
            ReadingValues(
                task + 1,
                task + 1,
                task % _READERS,
                _CLASSES[answer],
                now - 90 * 86_400 * (1 - task / len(answers)),
                5.0 + task % 40,
                AnswerKind.OWN,
                False,
            )
            for task, answer in enumerate(answers)
        ],
    )
    stores.second_readings.keep(
        1,
        [
            SecondReading(
                project_id=1,
                task_id=task + 1,
                state=ReadingState.READ,
                label=_CLASSES[answers[task]],
                readings=1,
                asked_at=now,
                read_at=now,
                answers=[
                    [task % _READERS, _CLASSES[answers[task]]],
                    [(task + 1) % _READERS, _CLASSES[answers[task] if task % 100 else 0]],
                ],
            )
            for task in range(0, len(answers), 10)
        ],
    )


def _report(number: int, tasks: int) -> RoundReport:
    side = range(len(_CLASSES))
    return RoundReport(
        acquisition="quality_diversity",
        reason="exemplars tagged by readers",
        target=_CLASSES[:1],
        newest_task=tasks,
        counts=Counts(pool=tasks, labelled=400 * number, queue=_QUEUE),
        seconds=dict.fromkeys(("sync", "embed", "fit", "rank", "publish"), 1.0),
        promotion=PromotionReport(True, "not worse beyond chance"),
        evaluation=Evaluation(
            classes=_CLASSES,
            confusion=tuple(tuple(100 * (row == column) for column in side) for row in side),
            support=tuple(100 for _ in side),
            method="By five-fold cross-validation.",
        ),
    )


def _smoothness(browser: Browser, address: str, size: tuple[int, int]) -> tuple[float, float]:
    """Return after how many milliseconds all points of a map were there, and with how many frames a second it moves."""
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, bypass_csp=True)
    try:
        page = context.new_page()
        page.goto(address)
        page.wait_for_selector("#map[data-ready]")
        ready = float(page.evaluate("performance.now()"))
        return ready, float(page.evaluate(_PANNED, _PANNED_SECONDS))
    finally:
        context.close()


def _open(browser: Browser, address: str) -> tuple[float, float]:
    """Return when the reply was read and when something was painted, in milliseconds after the request."""
    # The pages forbid the evaluation of strings, by which the browser is asked here.
    context = browser.new_context(viewport={"width": 1280, "height": 900}, bypass_csp=True)
    try:
        page = context.new_page()
        page.goto(address, wait_until="domcontentloaded")
        page.wait_for_function(_FIRST_PAINT)
        return float(page.evaluate(_RESPONSE)), float(page.evaluate(_FIRST_PAINT))
    finally:
        context.close()
