"""Takes the pictures of the pages that README and docs show: ``make screenshots``.

A real Label Studio, the backend, three simulated readers of BloodMNIST cells (from CLINICAL_DATA, or downloaded by
medmnist), and Chromium. A quarter of an hour on two cores.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import numpy as np
from PIL import Image
from rich.console import Console

from clinical_backend.lab.demo.dataset import load_dataset
from clinical_backend.lab.demo.reading import CLASS_CONTROL, Outcome, read_project, wait_until_settled
from clinical_backend.lab.demo.run import DemoProject, create_demo_project
from clinical_backend.lab.servers.backend_server import BackendServer
from clinical_backend.lab.servers.label_studio_admin import LabelStudioAdmin
from clinical_backend.lab.servers.label_studio_server import LabelStudioServer
from clinical_backend.lab.servers.simulated_reader import SimulatedReader
from clinical_backend.labelstudio.connection.connect import connect
from tests.chromium import chromium_browser, sign_in
from tests.conftest import sign_up

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

DOCS = Path(__file__).parent.parent / "docs"
CACHE = Path(".cache")
SIZE, RARE, EXEMPLARS, LABELS, BATCH = 4000, 284, 3, 360, 30
"""The rare class is as frequent as in BloodMNIST, 7.1 %; so few labels that a third of it is left to be found."""
SETTINGS = {"ADAPTATION": "off", "QUEUE_SIZE": 60, "AUDIT_SHARE": 0.3, "START_TRAINING_EACH_N_UPDATES": BATCH}
"""A larger project has more audit draws by then: of so many six should be rare, and three carry an estimate."""
READERS = {"Ada Novak": 0.0, "Ben Okafor": 0.06, "Chloe Martin": 0.12}
"""Made-up names, and how often each gives another class than is true; the first one reads the queue."""
READ_AGAIN_EACH, READ_AGAIN = 60, 14
"""After so many labels each of the others reads so many again: enough for intervals."""
DAYS = 24
"""The minutes of the run are stretched to so many, as a project takes."""
PAGES = {
    "found": ("", 1090),
    "queue": ("/queue", 900),
    "map": ("/map", 860),
    "model": ("/model", 1090),
    "readers": ("/readers", 1180),
    "card": ("/model/card", 880),
    "search": ("/picture", 1000),
    "settings": ("/settings", 975),
}
"""Page and height by the name of its picture."""
QUALITY = 82
"""Of WebP: 60 to 110 KB each; text stays sharp."""


@dataclass(frozen=True, slots=True)
class ReadProject:
    """A project that was read for a while, on servers that run.

    Attributes
    ----------
    picture
        One of its pictures, of a rare case.
    """

    label_studio: LabelStudioServer
    backend: BackendServer
    number: int
    picture: Path


def main() -> None:
    """Take all pictures."""
    with tempfile.TemporaryDirectory() as scratch, read_cells(Path(scratch)) as project:
        take(project, Path(scratch))


@contextmanager
def read_cells(folder: Path) -> Iterator[ReadProject]:
    """Yield a project of blood cells that three readers have read for some weeks.

    Parameters
    ----------
    folder
        Where both servers keep what they have.
    """
    console = Console()
    with LabelStudioServer(folder / "label-studio", cache=CACHE / "tests", fast_imports=True) as server:
        key = server.account.token
        settings = {"LOCAL_FILES_DOCUMENT_ROOT": server.files, **SETTINGS}
        with (
            LabelStudioAdmin(server.url, key) as client,
            BackendServer(folder / "backend", server.url, key, **settings) as backend,
        ):
            dataset = load_dataset(SIZE, RARE, 0, CACHE / "demo")
            if not dataset.origin.startswith("BloodMNIST"):
                sys.exit(f"These would be pictures of {dataset.origin}. Set CLINICAL_DATA, or connect to the net.")
            demo = create_demo_project(client, server, dataset, "Blood cells")
            connect(client, demo.project.id, backend_url=backend.url, rare_classes=[demo.rare])
            generator = np.random.default_rng(0)
            first, *others = READERS
            name_user(client, first)
            again = [SecondReader(client, demo, name, generator) for name in others]

            def go_on(outcome: Outcome, _name: str) -> None:
                if len(outcome.found) % READ_AGAIN_EACH == 0:
                    console.print(f"{len(outcome.found)} of {LABELS} labels")
                    for reader in again:
                        reader.go_on()

            read_project(
                client,
                backend,
                demo.project.id,
                demo.truth,
                demo.rare,
                exemplars=EXEMPLARS,
                labels=LABELS,
                batch=BATCH,
                progress=go_on,
                reader=reader_of(client, generator),
            )
            wait_until_settled(backend, demo.project.id)
            backend.stop()
            stretch_time(server, backend)
            backend.start()
            httpx2.post(f"{backend.url}/projects/{demo.project.id}/rounds").raise_for_status()
            wait_until_settled(backend, demo.project.id)
            picture = next(server.files.rglob(f"{dataset.labels.tolist().index(0):04}.png"))
            yield ReadProject(server, backend, demo.project.id, picture)


def stretch_time(server: LabelStudioServer, backend: BackendServer) -> None:
    """Stretch the minutes since the tasks were made to days: neither Label Studio nor a round can be told a date."""
    now = datetime.now(UTC)
    with closing(sqlite3.connect(server.data / "label_studio.sqlite3")) as kept, kept:
        (first,) = kept.execute("SELECT min(created_at) FROM task").fetchone()
        began = datetime.fromisoformat(first).replace(tzinfo=UTC)
        factor = timedelta(days=DAYS) / (now - began)

        def earlier(moment: str) -> str:
            stretched = now - factor * (now - datetime.fromisoformat(moment).replace(tzinfo=UTC))
            return stretched.strftime("%Y-%m-%d %H:%M:%S.%f")

        kept.create_function("earlier", 1, earlier, deterministic=True)
        kept.execute("UPDATE task SET created_at = earlier(created_at)")
        kept.execute("UPDATE task_completion SET created_at = earlier(created_at), updated_at = earlier(updated_at)")
    moments = {
        "rounds": ("started_at", "finished_at", "switched_at"),
        "task_labels": ("labelled_at", "tagged_at"),
    }
    with closing(sqlite3.connect(backend.folder / "clinical.sqlite3")) as kept, kept:
        for table, columns in moments.items():
            changes = ", ".join(f"{column} = :now - :factor * (:now - {column})" for column in columns)
            kept.execute(f"UPDATE {table} SET {changes}", {"now": now.timestamp(), "factor": factor})


def reader_of(client: LabelStudioAdmin, generator: np.random.Generator) -> SimulatedReader:
    """Return a reader who says to take as long as people do: half of the cases less than 7 seconds."""
    return SimulatedReader(client, seconds=lambda: float(generator.lognormal(np.log(7), 0.5)))


def name_user(client: LabelStudioAdmin, name: str) -> None:
    """Give the user of a token a name."""
    first, last = name.split()
    body = {"first_name": first, "last_name": last}
    client.session.request("PATCH", f"api/users/{client.whoami().id}/", json=body)


class SecondReader:
    """A reader who now and then reads what others answered, and gives another class than is true."""

    def __init__(self, client: LabelStudioAdmin, demo: DemoProject, name: str, generator: np.random.Generator) -> None:
        token = sign_up(client, f"{name.split(maxsplit=1)[0].lower()}@example.com", "a-password-of-tests")
        self._client = LabelStudioAdmin(client.url, token)
        name_user(self._client, name)
        self._reader = reader_of(self._client, generator)
        self._demo, self._mistakes, self._generator = demo, READERS[name], generator
        self._read: set[int] = set()

    def go_on(self) -> None:
        """Read some more of the answered cases."""
        classes = sorted(set(self._demo.truth.values()))
        answered = {task.id for task in self._client.annotated_tasks(self._demo.project.id)} - self._read
        for task in self._generator.permutation(sorted(answered))[:READ_AGAIN].tolist():
            said = self._demo.truth[task]
            if self._generator.random() < self._mistakes:
                said = str(self._generator.choice([one for one in classes if one != said]))
            self._reader.annotate(task, {CLASS_CONTROL: [said]})
            self._read.add(task)


def take(project: ReadProject, folder: Path) -> None:
    """Open the pages, and the editor of Label Studio, and keep pictures of them."""
    with chromium_browser() as chromium:
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(300_000)  # a busy machine takes minutes to draw the map
        for name, (path, height) in PAGES.items():
            page.set_viewport_size({"width": 1280, "height": height})
            page.goto(f"{project.backend.url}/projects/{project.number}{path}")
            if name == "search":
                search_by(page, project.picture)
            PREPARED.get(name, lambda _: None)(page)
            page.wait_for_load_state("networkidle")
            page.screenshot(path=folder / f"{name}.png")
            keep(folder / f"{name}.png", f"pages-{name}")
        sign_in(page, project.label_studio)
        page.set_viewport_size({"width": 1280, "height": 720})
        page.goto(f"{project.label_studio.url}/projects/{project.number}/data?labeling=1")
        page.get_by_label("more like this").wait_for()
        page.wait_for_load_state("networkidle")
        page.screenshot(path=folder / "editor.png")
        keep(folder / "editor.png", "label-studio")


def show_map(page: Page) -> None:
    """Wait until the map is drawn."""
    drawn = page.locator("#map[data-ready]")
    link = page.get_by_role("link", name="Show it")
    drawn.or_(link).first.wait_for()
    if link.count():
        link.click()
        drawn.wait_for()


def show_figures(page: Page) -> None:
    """Scroll to what the card measures."""
    page.get_by_role("heading", name="Figures").evaluate("(heading) => heading.scrollIntoView()")


def preview_settings(page: Page) -> None:
    """Ask what other settings would change, and wait until it is told."""
    page.get_by_label("Audit share").fill("40")
    page.get_by_label("What the labels are for").select_option("classifier")
    page.get_by_role("button", name="Show what would change").click()
    page.get_by_role("columnheader", name="Next, with these").wait_for()
    for picture in page.locator("#settings-preview img").all():
        picture.scroll_into_view_if_needed()
    page.evaluate("window.scrollTo(0, 0)")


def search_by(page: Page, sought: Path) -> None:
    """Search by a picture, and wait for what is found."""
    page.get_by_label("Picture").set_input_files(sought)
    page.get_by_role("button", name="Find cases like it").click()
    page.locator("#alike img").first.wait_for()


PREPARED = {"map": show_map, "card": show_figures, "settings": preview_settings}
"""What is done on a page before its picture is taken."""


def keep(picture: Path, name: str) -> None:
    """Write a screenshot into the docs."""
    Image.open(picture).save(DOCS / f"{name}.webp", quality=QUALITY, method=6)


if __name__ == "__main__":
    main()
