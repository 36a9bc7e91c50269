"""Takes the pictures of the pages that README and docs show: ``make screenshots``.

A real Label Studio, the backend, a simulated reader of BloodMNIST cells (from CLINICAL_DATA, or downloaded by
medmnist), and Chromium. Ten minutes on two cores.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from rich.console import Console

from clinical_backend.lab.demo.dataset import load_dataset
from clinical_backend.lab.demo.reading import read_project
from clinical_backend.lab.demo.run import create_demo_project
from clinical_backend.lab.servers.backend_server import BackendServer
from clinical_backend.lab.servers.label_studio_admin import LabelStudioAdmin
from clinical_backend.lab.servers.label_studio_server import LabelStudioServer
from clinical_backend.labelstudio.connection.connect import connect
from tests.chromium import chromium_browser, sign_in

if TYPE_CHECKING:
    from playwright.sync_api import Page

DOCS = Path(__file__).parent.parent / "docs"
CACHE = Path(".cache")
SIZE, RARE, EXEMPLARS, LABELS, BATCH = 1000, 40, 3, 230, 20
"""So many labels that audit draws tell something, and rare cases are left in the queue."""
PAGES = {
    "found": ("", 1090),
    "queue": ("/queue", 900),
    "map": ("/map", 860),
    "model": ("/model", 1090),
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
                )
                take(backend, server, demo.project.id, folder)


def take(backend: BackendServer, server: LabelStudioServer, project: int, folder: Path) -> None:
    """Open the pages, and the editor of Label Studio, and keep pictures of them."""
    with chromium_browser() as chromium:
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(120_000)
        for name, (path, height) in PAGES.items():
            page.set_viewport_size({"width": 1280, "height": height})
            page.goto(f"{backend.url}/projects/{project}{path}")
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


def preview_settings(page: Page) -> None:
    """Ask what other settings would change, and wait until it is told."""
    page.get_by_label("Audit share").fill("30")
    page.get_by_label("What the labels are for").select_option("classifier")
    page.get_by_role("button", name="Show what would change").click()
    page.get_by_role("columnheader", name="Next, with these").wait_for()
    for picture in page.locator("#settings-preview img").all():
        picture.scroll_into_view_if_needed()
    page.evaluate("window.scrollTo(0, 0)")


PREPARED = {"map": show_map, "settings": preview_settings}
"""What is done on a page before its picture is taken."""


def keep(picture: Path, name: str) -> None:
    """Write a screenshot into the docs."""
    Image.open(picture).save(DOCS / f"{name}.webp", quality=QUALITY, method=6)


if __name__ == "__main__":
    main()
