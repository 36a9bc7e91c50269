"""Pages of a served project in a real browser, whose console stays free of errors."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Literal

import pytest
from playwright.sync_api import expect

from tests.chromium import chromium_browser

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, ConsoleMessage, Page

__all__ = ["chromium", "look", "note_errors", "opened_pages"]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Yield a browser for a file of tests."""
    expect.set_options(timeout=60_000)  # a busy machine starts decoders slowly
    with chromium_browser() as browser:
        yield browser
    expect.set_options(timeout=5_000)  # Playwright's own


@pytest.fixture
def look(chromium: Browser, served: str) -> Iterator[Callable[..., Page]]:
    """Yield what opens a page of the project that a file's own fixture ``served`` gives the address of."""
    with opened_pages(chromium, served) as open_page:
        yield open_page


def note_errors(page: Page, errors: list[str]) -> None:
    """Put every error of a page's console, and of its scripts, into a list: what it is, and of which address."""

    def note(said: ConsoleMessage) -> None:
        if said.type == "error":
            errors.append(f"{said.text} {said.location['url']}")

    page.on("console", note)
    page.on("pageerror", lambda error: errors.append(str(error)))


@contextmanager
def opened_pages(chromium: Browser, served: str) -> Iterator[Callable[..., Page]]:
    """Yield what opens a page of a project; at the end, no error may stand in the console."""
    errors: list[str] = []
    with ExitStack() as opened:

        def open_page(
            path: str, *, width: int = 1280, scheme: Literal["light", "dark"] = "light", script: bool = True
        ) -> Page:
            context = chromium.new_context(
                viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=script
            )
            opened.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(60_000)
            note_errors(page, errors)
            page.goto(f"{served}{path}", wait_until="load")
            return page

        yield open_page
    assert errors == [], errors
