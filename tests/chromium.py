"""A real browser: where it is, what is skipped without one, and how it is started."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

    from clinical_backend.lab.servers.label_studio_server import LabelStudioServer

_PATH = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)

needs_chromium = [
    pytest.mark.skipif(_PATH is None, reason="no Chromium on the PATH: run `apt-get install chromium`"),
    pytest.mark.timeout(1200),
]


def sign_in(page: Page, label_studio: LabelStudioServer) -> None:
    """Log the administrator of a Label Studio in."""
    page.goto(f"{label_studio.url}/user/login/")
    page.fill("input[name=email]", label_studio.account.email)
    page.fill("input[name=password]", label_studio.account.password)
    page.press("input[name=password]", "Enter")
    page.wait_for_url("**/")


@contextmanager
def chromium_browser() -> Iterator[Browser]:
    """Yield a running browser."""
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses its sandbox to root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_PATH, args=arguments)
        yield browser
        browser.close()
