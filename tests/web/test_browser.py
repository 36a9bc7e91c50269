"""Pages with all that they can show, in a real browser; one with a real Label Studio is in tests/end_to_end."""

import os
import shutil

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

from clinical_backend.web.app import make_app
from tests.web.test_backend_api import Wakes
from tests.web.test_pages import PAGES, configuration, filled, rich, save_image, stores
from tests.web.test_security import running

__all__ = ["configuration", "filled", "rich", "stores"]  # fixtures

CHROMIUM = next((path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), None)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH: run `apt-get install chromium`"),
    pytest.mark.timeout(1200),
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_rich_pages_fit_and_are_accessible(configuration, rich, width, scheme, tmp_path):
    for task in (2, 3, 99):
        save_image(configuration, f"{task}.png", (64, 64))
    errors = []
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []  # root has no sandbox
    with running(make_app(configuration, Wakes())) as (host, port), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.set_default_timeout(600_000)
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        for path in PAGES:
            page.goto(f"http://{host}:{port}/projects/1{path}", wait_until="load")
            page.screenshot(path=tmp_path / f"{path.strip('/') or 'now'}-{width}-{scheme}.png", full_page=True)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
            found = Axe().run(page)
            assert found.violations_count == 0, f"{path}: {found.generate_report()}"
        browser.close()
    assert errors == []
