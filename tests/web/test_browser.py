"""Pages with all that they can show, in a real browser; one with a real Label Studio is in tests/end_to_end."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe

from clinical_backend.web.app import make_app
from tests.chromium import chromium_browser, needs_chromium
from tests.small_workspace import picture
from tests.web.noting_runner import Wakes
from tests.web.opened_pages import note_errors
from tests.web.pages.test_routes import configuration, filled, rich, save_image, stores, workspace
from tests.web.site_map import PAGES, PAGES_OF_CASES
from tests.web.test_security import running

__all__ = ["configuration", "filled", "rich", "stores", "workspace"]  # fixtures

pytestmark = needs_chromium


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_rich_pages_fit_and_are_accessible(configuration, rich, width, scheme, tmp_path):
    for task in (2, 3, 99):
        save_image(configuration, f"{task}.png", (64, 64))
    errors, tabs = [], set()
    with running(make_app(configuration, Wakes())) as (host, port), chromium_browser() as browser:
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.set_default_timeout(600_000)
        note_errors(page, errors)
        for path in [*PAGES, *PAGES_OF_CASES]:
            page.goto(f"http://{host}:{port}/projects/1{path}", wait_until="load")
            page.screenshot(
                path=tmp_path / f"{re.sub(r'[/?&=]+', '-', path).strip('-') or 'now'}-{width}-{scheme}.png",
                full_page=True,
            )
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
            tabs.add(page.evaluate("document.querySelector('.tabs')?.getBoundingClientRect().x"))
            found = Axe().run(page)
            assert found.violations_count == 0, f"{path}: {found.generate_report()}"
    assert errors == [], errors
    assert len(tabs - {None}) == 1  # they stand where they stood


_HAND_OVER = """([type, target]) => {
    const data = new DataTransfer();
    data.items.add(new File([Uint8Array.from(atob(window.image), (sign) => sign.charCodeAt(0))], `${type}.png`));
    const options = { bubbles: true, cancelable: true };
    const event = type === "paste"
        ? new ClipboardEvent(type, { ...options, clipboardData: data })
        : new DragEvent(type, { ...options, dataTransfer: data });
    document.querySelector(target).dispatchEvent(event);
}"""


def test_images_that_are_dropped_and_pasted_are_given_with_the_form(configuration, filled, stores):
    content = picture(250).partition(",")[2]
    with running(make_app(configuration, Wakes())) as (host, port), chromium_browser() as browser:
        page = browser.new_page()
        page.set_default_timeout(120_000)
        page.goto(f"http://{host}:{port}/projects/1/exemplars", wait_until="load")
        page.evaluate("(content) => { window.image = content; }", content)
        page.evaluate(_HAND_OVER, ["drop", "form.drop"])
        page.evaluate(_HAND_OVER, ["paste", "body"])
        assert page.evaluate("[...document.querySelector('#outside-files').files].map((file) => file.name)") == [
            "drop.png",
            "paste.png",
        ]
        page.select_option("#outside-finding", "b")
        page.click("form.drop button")
        page.wait_for_selector(".flash")
        assert "1 exemplar added" in page.inner_text(".flash")  # both are the same image
        assert [one.finding for one in stores.outside_exemplars.all(1)] == ["b"]
        assert page.evaluate("document.querySelector('.gallery img[src$=\"1.png\"]').naturalWidth") > 0
        page.goto(f"http://{host}:{port}/projects/1/picture", wait_until="load")
        page.evaluate("(content) => { window.image = content; }", content)
        page.evaluate(_HAND_OVER, ["drop", "form.drop"])
        page.evaluate(_HAND_OVER, ["paste", "body"])  # one is searched for: the last
        assert page.evaluate("[...document.querySelector('#picture-file').files].map((file) => file.name)") == [
            "paste.png"
        ]
        page.click("form.drop button")
        page.wait_for_selector("#alike")
        assert "No round has read an image of the project yet" in page.inner_text("#alike")
