"""The demonstration: the loop on a real Label Studio, from an empty folder to a turned queue."""

from __future__ import annotations

import os
import sys
import uuid
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from clinical_backend.lab.demo.dataset import Dataset, load_dataset
from clinical_backend.lab.demo.reading import CLASS_CONTROL, Outcome, read_project
from clinical_backend.lab.demo.results import make_table, save_plot
from clinical_backend.lab.plotting import pyplot
from clinical_backend.lab.servers.backend_server import BackendServer
from clinical_backend.lab.servers.label_studio_admin import LabelStudioAdmin
from clinical_backend.lab.servers.label_studio_server import LabelStudioServer
from clinical_backend.labelstudio.connection.connect import connect
from clinical_backend.labelstudio.labeling.layout import with_exemplar_control

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from clinical_backend.labelstudio.resources import Project

__all__ = ["DemoProject", "create_demo_project", "create_image_project", "run_demo"]

_FOLDER = Path(".demo")
_SIZE = 600
_RARE = 21
_EXEMPLARS = 3
_BATCH = 10
"""The 600 cells of the README, 3.5 % of them rare: three exemplars, and a round each tenth annotation; chosen."""
_SCREENS = ("DISPLAY", "WAYLAND_DISPLAY")
"""One is set where there is a screen: without one a browser of text would take the terminal."""


class DemoProject:
    """A project of labelled images in Label Studio, with the truth that only the simulated reader knows."""

    def __init__(self, project: Project, truth: dict[int, str], rare: str) -> None:
        self.project = project
        self.truth = truth
        self.rare = rare


def run_demo(*, seed: int = 0, labels: int = 60, repeats: int = 1, stay: bool | None = None) -> list[Outcome]:
    """Start everything, let the simulated reader annotate, and show what it met.

    Parameters
    ----------
    seed
        Which images; each repeat takes the next seed.
    labels
        How many tasks the reader annotates.
    repeats
        How many projects it reads, for a mean and its spread.
    stay
        Whether to stay up afterwards for a person to go on; by default where there is a terminal.
    """
    pyplot()
    console = Console()
    folder = _FOLDER.absolute()
    outcomes = []
    console.print("Starting Label Studio; its first start takes one to two minutes …")
    with LabelStudioServer(folder / "label-studio", cache=folder / "cache", fast_imports=True) as server:
        api_key = server.account.token
        # A minute and a half of adaptation would end after the reader has, and share the CPU until then.
        settings = {"LOCAL_FILES_DOCUMENT_ROOT": server.files, "ADAPTATION": "off"}
        with (
            LabelStudioAdmin(server.url, api_key) as client,
            BackendServer(folder / "backend", server.url, api_key, **settings) as backend,
        ):
            for number in range(seed, seed + repeats):
                dataset = load_dataset(_SIZE, _RARE, number, folder / "data")
                demo = create_demo_project(client, server, dataset, f"Rare cells first {number}")
                connect(client, demo.project.id, backend_url=backend.url)
                console.print(
                    f"[bold]{dataset.origin}[/]: {_SIZE} images, {_RARE} of class {dataset.classes[0]!r}."
                    f" Label Studio {server.url}, backend {backend.url}, project {demo.project.id} connected."
                )
                outcomes.append(_read(console, client, backend, demo, labels))
            _show(console, [outcome.found for outcome in outcomes], dataset.origin, folder / "found.png")
            if stay if stay is not None else sys.stdin.isatty():
                _stay(console, server, backend, demo)
    return outcomes


def create_demo_project(
    client: LabelStudioAdmin, server: LabelStudioServer, dataset: Dataset, title: str
) -> DemoProject:
    """Write the images where Label Studio serves them, and make a project of them."""
    folder = server.files / uuid.uuid4().hex[:8]
    folder.mkdir(parents=True)
    files = [f"{number:04}.png" for number in range(len(dataset.images))]
    for file, pixels in zip(files, dataset.images, strict=True):
        Image.fromarray(pixels).save(folder / file)
    project, ids = create_image_project(client, folder, files, dataset.classes, title)
    truth = {task: dataset.classes[label] for task, label in zip(ids, dataset.labels, strict=True)}
    return DemoProject(project, truth, dataset.classes[0])


def create_image_project(
    client: LabelStudioAdmin,
    folder: Path,
    files: Sequence[str],
    classes: Sequence[str],
    title: str,
    fields: Sequence[Mapping[str, object]] | None = None,
) -> tuple[Project, list[int]]:
    """Make a project of images in a folder of those that Label Studio serves; return it, and the task of each.

    Parameters
    ----------
    fields
        What the data of each task says beside its image; by default nothing.
    """
    choices = "".join(f'<Choice value="{label}"/>' for label in classes)
    config = (
        '<View>\n  <Image name="image" value="$image" zoom="true"/>\n'
        f'  <Choices name="{CLASS_CONTROL}" toName="image" choice="single">{choices}</Choices>\n</View>'
    )
    project = client.create_project(title, with_exemplar_control(config))
    client.serve_local_files(project.id, str(folder))
    tasks = [
        {"data": {"image": f"/data/local-files/?d={folder.name}/{file}", **told}}
        for file, told in zip(files, fields or [{}] * len(files), strict=True)
    ]
    ids = client.import_tasks(project.id, tasks)
    return client.project(project.id), ids


def _read(
    console: Console, client: LabelStudioAdmin, backend: BackendServer, demo: DemoProject, labels: int
) -> Outcome:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("first round: every image is embedded", total=labels)

        def show(outcome: Outcome, name: str) -> None:
            text = f"round {outcome.rounds[-1]}: {outcome.found[-1]} rare met, now: {name}"
            bar.update(task, completed=len(outcome.found), description=text)
            if not console.is_terminal and len(outcome.found) % _BATCH == 0:
                console.print(f"{len(outcome.found)} labels, {text}")

        return read_project(
            client,
            backend,
            demo.project.id,
            demo.truth,
            demo.rare,
            exemplars=_EXEMPLARS,
            labels=labels,
            batch=_BATCH,
            progress=show,
        )


def _show(console: Console, found: list[list[int]], origin: str, plot: Path) -> None:
    pool, rare = _SIZE - _EXEMPLARS, _RARE - _EXEMPLARS
    console.print(make_table(found, pool, rare))
    save_plot(found, pool, rare, origin, plot)
    console.print(f"Plot: {plot}")


def _stay(console: Console, server: LabelStudioServer, backend: BackendServer, demo: DemoProject) -> None:
    """Leave it to a visitor, with something to do in the first minute."""
    account = server.account
    pages = f"{backend.url}/projects/{demo.project.id}"
    console.print(
        f"\nGo on yourself: [bold]{pages}[/] has what was found, and the queue."
        f"\n  1. Is the first case of {pages}/queue one of the rare ones? Compare it with the exemplar beside it."
        f"\n  2. Label three cases in [bold]{server.url}/projects/{demo.project.id}/data[/], then see the page change."
        f"\n     user {account.email}   password {account.password}\nPress Enter to end."
    )
    if any(os.environ.get(name) for name in _SCREENS) or sys.platform in {"darwin", "win32"}:
        webbrowser.open(pages)
    sys.stdin.readline()
