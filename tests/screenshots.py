"""Takes the pictures of the pages that README and docs show: ``make screenshots``.

A real Label Studio, the backend, three simulated readers of BloodMNIST cells (from CLINICAL_DATA, or downloaded by
medmnist), and Chromium. Ten minutes on two cores.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import numpy as np
from PIL import Image
from rich.console import Console

from clinical_backend.lab.demo.dataset import load_dataset
from clinical_backend.lab.demo.reading import CLASS_CONTROL, read_project, wait_until_settled
from clinical_backend.lab.demo.run import DemoProject, create_demo_project
from clinical_backend.lab.servers.backend_server import BackendServer
from clinical_backend.lab.servers.label_studio_admin import LabelStudioAdmin
from clinical_backend.lab.servers.label_studio_server import LabelStudioServer
from clinical_backend.lab.servers.simulated_reader import SimulatedReader
from clinical_backend.labelstudio.connection.connect import connect
from tests.chromium import chromium_browser, sign_in
from tests.conftest import sign_up

if TYPE_CHECKING:
    from playwright.sync_api import Page

DOCS = Path(__file__).parent.parent / "docs"
CACHE = Path(".cache")
SIZE, RARE, EXEMPLARS, LABELS, BATCH = 1000, 40, 3, 230, 20
"""So many labels that audit draws tell something, and rare cases are left in the queue."""
READERS = {"Ada Novak": 0.0, "Ben Okafor": 0.06, "Chloe Martin": 0.12}
"""Made-up names, and how often each gives another class than is true; the first one reads the queue."""
READ_AGAIN = 70
"""Of the answered cases, by each of the others: enough for intervals."""
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


def main() -> None:
    """Take all pictures."""
    console = Console()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with LabelStudioServer(folder / "label-studio", cache=CACHE / "tests", fast_imports=True) as server:
            key = server.account.token
            settings = {"LOCAL_FILES_DOCUMENT_ROOT": server.files, "ADAPTATION": "off", "QUEUE_SIZE": 60}
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
                read_project(
                    client,
                    backend,
                    demo.project.id,
                    demo.truth,
                    demo.rare,
                    exemplars=EXEMPLARS,
                    labels=LABELS,
                    batch=BATCH,
                    progress=lambda outcome, _name: console.print(f"{len(outcome.found)} of {LABELS} labels"),
                    reader=reader_of(client, generator),
                )
                for name in others:
                    read_again(client, demo, name, generator)
                httpx2.post(f"{backend.url}/projects/{demo.project.id}/rounds").raise_for_status()
                wait_until_settled(backend, demo.project.id)
                sought = next(server.files.rglob(f"{dataset.labels.tolist().index(0):04}.png"))
                take(backend, server, demo.project.id, folder, sought)


def reader_of(client: LabelStudioAdmin, generator: np.random.Generator) -> SimulatedReader:
    """Return a reader who says to take as long as people do: half of the cases less than 7 seconds."""
    return SimulatedReader(client, seconds=lambda: float(generator.lognormal(np.log(7), 0.5)))


def name_user(client: LabelStudioAdmin, name: str) -> None:
    """Give the user of a token a name."""
    first, last = name.split()
    body = {"first_name": first, "last_name": last}
    client.session.request("PATCH", f"api/users/{client.whoami().id}/", json=body)


def read_again(client: LabelStudioAdmin, demo: DemoProject, name: str, generator: np.random.Generator) -> None:
    """Have another reader answer some of the answered cases, now and then by another class than is true."""
    token = sign_up(client, f"{name.split(maxsplit=1)[0].lower()}@example.com", "a-password-of-tests")
    classes = sorted(set(demo.truth.values()))
    answered = sorted(task.id for task in client.annotated_tasks(demo.project.id))
    with LabelStudioAdmin(client.url, token) as own:
        name_user(own, name)
        reader = reader_of(own, generator)
        for task in generator.permutation(answered)[:READ_AGAIN].tolist():
            said = demo.truth[task]
            if generator.random() < READERS[name]:
                said = str(generator.choice([one for one in classes if one != said]))
            reader.annotate(task, {CLASS_CONTROL: [said]})


def take(backend: BackendServer, server: LabelStudioServer, project: int, folder: Path, sought: Path) -> None:
    """Open the pages, and the editor of Label Studio, and keep pictures of them.

    Parameters
    ----------
    sought
        The picture that is searched by.
    """
    with chromium_browser() as chromium:
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(120_000)
        for name, (path, height) in PAGES.items():
            page.set_viewport_size({"width": 1280, "height": height})
            page.goto(f"{backend.url}/projects/{project}{path}")
            if name == "search":
                search_by(page, sought)
            PREPARED.get(name, lambda _: None)(page)
            page.wait_for_load_state("networkidle")
            page.screenshot(path=folder / f"{name}.png")
            keep(folder / f"{name}.png", f"pages-{name}")
        sign_in(page, server)
        page.set_viewport_size({"width": 1280, "height": 720})
        page.goto(f"{server.url}/projects/{project}/data?labeling=1")
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
    page.get_by_label("Audit share").fill("30")
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
