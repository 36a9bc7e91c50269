"""How long a reader waits: from the Nth annotation to the new order, stage by stage, and the calls' latencies."""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
from rich.console import Console
from rich.table import Table

from clinical_backend.lab.demo.dataset import drawn_cells
from clinical_backend.lab.demo.reading import CLASS_CONTROL, wait_for_round, wait_until_settled
from clinical_backend.lab.demo.run import DemoProject, create_demo_project
from clinical_backend.lab.servers.backend_server import BackendServer
from clinical_backend.lab.servers.label_studio_admin import LabelStudioAdmin
from clinical_backend.lab.servers.label_studio_server import LabelStudioServer
from clinical_backend.lab.servers.simulated_reader import SimulatedReader
from clinical_backend.labelstudio.connection.connect import connect
from clinical_backend.labelstudio.labeling.scheme import MORE_LIKE_THIS
from clinical_backend.storage.database import Database
from clinical_backend.storage.stores.images import ImageStore

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["main"]

_TASKS = 2000
_RARE = 60
_EVERY = 10
_ROUNDS = 5
_CALLS = 60
"""As docs/speed.md reports them: 2,000 tasks, 3 % of them rare, five rounds of ten annotations, 60 calls."""


def main() -> None:
    """Measure on a real Label Studio with 2,000 tasks, and print tables."""
    console = Console()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with LabelStudioServer(folder / "label-studio", cache=Path(".cache")) as server:
            key = server.account.token
            settings = {
                "LOCAL_FILES_DOCUMENT_ROOT": server.files,
                "START_TRAINING_EACH_N_UPDATES": _EVERY,
                "ADAPTATION": "off",  # it would share the CPU for minutes, at low priority
            }
            with (
                LabelStudioAdmin(server.url, key) as client,
                BackendServer(folder / "backend", server.url, key, **settings) as backend,
            ):
                console.print(f"Preparing a project of {_TASKS} drawn cells …")
                demo = create_demo_project(client, server, drawn_cells(_TASKS, _RARE, seed=0), "benchmark")
                connect(client, demo.project.id, backend_url=backend.url)
                wait_for_round(backend, demo.project.id, 0)
                console.print(_embedding(backend, demo))
                _tag(client, backend, demo)
                waits, rounds = _rounds(client, backend, demo)
                console.print(_stages(waits, rounds))
                console.print(_latencies(backend, demo))


def _tag(client: LabelStudioAdmin, backend: BackendServer, demo: DemoProject) -> None:
    reader = SimulatedReader(client)
    for task in [task for task, name in demo.truth.items() if name == demo.rare][:3]:
        reader.annotate(task, {CLASS_CONTROL: [demo.rare], "exemplar": [MORE_LIKE_THIS]})
    wait_for_round(backend, demo.project.id, 1, exemplars=3)
    wait_until_settled(backend, demo.project.id)


def _rounds(
    client: LabelStudioAdmin, backend: BackendServer, demo: DemoProject
) -> tuple[list[float], list[dict[str, Any]]]:
    """Annotate in the order served; time from the Nth annotation until Label Studio serves the new version."""
    reader, waits, rounds = SimulatedReader(client), [], []
    for _ in range(_ROUNDS):
        before = client.project(demo.project.id).model_version
        for _ in range(_EVERY):
            task = reader.next(demo.project.id)
            if task is None:
                break
            reader.annotate(task, {CLASS_CONTROL: [demo.truth[task.id]]})
        started = time.perf_counter()
        while client.project(demo.project.id).model_version == before:
            time.sleep(0.02)
        reader.next(demo.project.id)
        waits.append(time.perf_counter() - started)
        rounds.append(wait_until_settled(backend, demo.project.id)["round"])
    return waits, rounds


def _stages(waits: list[float], rounds: list[dict[str, Any]]) -> Table:
    table = Table(title=f"Seconds from the {_EVERY}th annotation to the new order, {_TASKS} tasks, {_ROUNDS} rounds")
    for heading in ("stage", "least", "median", "most", "whose"):
        table.add_column(heading, justify="left" if heading in {"stage", "whose"} else "right")
    whose = {"sync": "Label Studio's listing", "publish": "Label Studio's import and switch"}
    for stage in ("sync", "embed", "fit", "rank", "publish"):
        table.add_row(stage, *_spread([row["seconds"][stage] for row in rounds]), whose.get(stage, "ours"))
    table.add_row("whole, as the reader sees it", *_spread(waits), "")
    theirs = [row["seconds"]["sync"] + row["seconds"]["publish"] for row in rounds]
    share = statistics.median(part / whole for part, whole in zip(theirs, waits, strict=True))
    table.add_row("of this Label Studio's own", "", f"{share:.0%}", "", "")
    return table


def _embedding(backend: BackendServer, demo: DemoProject) -> str:
    seconds = wait_until_settled(backend, demo.project.id)["round"]["seconds"]["embed"]
    return (
        f"First round: {_TASKS} images read, decoded and embedded in {seconds:.1f} s, {_TASKS / seconds:.0f} a second."
    )


def _latencies(backend: BackendServer, demo: DemoProject) -> Table:
    """Time the calls while rounds run, one after the other."""
    table = Table(title=f"Milliseconds a call takes while rounds run, {_CALLS} calls each")
    for heading in ("call", "median", "95 %", "most"):
        table.add_column(heading, justify="left" if heading == "call" else "right")
    project = demo.project
    event = {
        "action": "ANNOTATION_UPDATED",
        "annotation": {"id": 1, "task": 1, "result": []},
        "project": {"id": project.id},
    }
    images = ImageStore(Database.in_folder(backend.folder)).all(project.id, list(demo.truth)[:500])
    tasks = [{"id": task, "project": project.id, "data": {"image": image.uri}} for task, image in images.items()]
    calls: dict[str, Callable[[httpx2.Client], object]] = {
        "webhook": lambda http: http.post("/webhook", json=event),
        "predict, 1 task": lambda http: http.post("/predict", json=_predict(demo, tasks[:1])),
        "predict, 500 tasks": lambda http: http.post("/predict", json=_predict(demo, tasks)),
        "health": lambda http: http.get("/health"),
    }
    done = threading.Event()
    keeper = threading.Thread(target=_keep_running, args=(backend, demo, done))
    keeper.start()
    with httpx2.Client(base_url=backend.url, timeout=60.0) as http:
        for name, call in calls.items():
            taken = []
            for _ in range(_CALLS):
                started = time.perf_counter()
                call(http)
                taken.append(1000 * (time.perf_counter() - started))
            ordered = sorted(taken)
            figures = (statistics.median(ordered), ordered[int(0.95 * len(ordered))], ordered[-1])
            table.add_row(name, *(f"{figure:.0f}" for figure in figures))
    done.set()
    keeper.join()
    return table


def _keep_running(backend: BackendServer, demo: DemoProject, done: threading.Event) -> None:
    while not done.wait(0.2):
        httpx2.post(f"{backend.url}/projects/{demo.project.id}/rounds", timeout=60.0)


def _predict(demo: DemoProject, tasks: list[dict[str, Any]]) -> dict[str, Any]:
    return {"tasks": tasks, "project": str(demo.project.id), "label_config": demo.project.label_config}


def _spread(values: list[float]) -> tuple[str, str, str]:
    return f"{min(values):.2f}", f"{statistics.median(values):.2f}", f"{max(values):.2f}"


if __name__ == "__main__":
    main()
