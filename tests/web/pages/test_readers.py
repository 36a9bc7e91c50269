"""The pages of readers."""

import re
import time

import pytest

from clinical_backend.origins import AnswerKind
from clinical_backend.storage.schema import ReadingState, SecondReading
from clinical_backend.storage.stores.readings import ReadingValues
from tests.web.pages.test_routes import assert_sound, configuration, filled, rich, send, stores, wakes, web, workspace

__all__ = ["configuration", "filled", "rich", "stores", "wakes", "web", "workspace"]  # fixtures

SHOWN = {"names": "Ada Byron", "numbers": "reader 7", "off": None}


@pytest.fixture(params=["names"], autouse=True)
def show(request, monkeypatch):
    monkeypatch.setenv("SHOW_READERS", request.param)
    return request.param


@pytest.fixture
def read(stores, rich):
    """Annotations of three readers, eight cases that two read, six of them differently, and names that would hurt."""
    now = time.time()
    answered = [
        ReadingValues(100 + n, n % 60 + 1, 7 + n % 2, "a", now - n % 9 * 86_400, 4.0 + n, AnswerKind.OWN, n == 1)
        for n in range(40)
    ]
    skipped = ReadingValues(200, 70, 9, None, now, 3.0, AnswerKind.SKIP, False)
    stores.readings.replace(1, [*answered, skipped])
    names = {"7": "Ada Byron", "8": "<script>alert('8')</script>", "9": 'x" onload="alert(9)'}
    stores.projects.change(1, reader_names=names)
    rows = [
        SecondReading(
            project_id=1,
            task_id=task,
            state=ReadingState.READ,
            label="a",
            readings=1,
            asked_at=1.0,
            read_at=float(task),
            answers=[["7", "a"], ["8", "b" if task <= 6 else "a"]],
        )
        for task in [*range(1, 7), 16, 26]
    ]
    stores.second_readings.keep(1, rows)


@pytest.mark.parametrize("show", SHOWN, indirect=True)
@pytest.mark.parametrize(
    "page", ["/readers", "/readers/cases", "/readers/cases?show=same", "/exemplars", "/second-look"]
)
def test_no_page_tells_more_of_readers_than_the_setting_lets_it(web, read, page, show):
    text = web.get(f"/projects/1{page}").text
    assert_sound(text)
    assert "<script>alert" not in text
    assert 'x" onload' not in text
    for name in {*SHOWN.values()} - {SHOWN[show], None}:
        assert name not in text
    if show == "off":
        assert "reader 8" not in text
        assert "7-8" not in text


@pytest.mark.parametrize("show", ["off"], indirect=True)
def test_a_page_that_is_off_says_by_which_setting_and_leads_to_the_cases_all_the_same(web, read, show):
    text = web.get("/projects/1/readers").text
    assert "<code>SHOW_READERS</code> is <code>off</code>" in text
    assert "<table" not in text
    assert 'href="/projects/1/readers/cases"' in text
    assert "<dt>a reader, first</dt>" in web.get("/projects/1/readers/cases").text


def test_counts_times_and_agreement_are_shown_with_what_they_do_not_say(web, read):
    text = web.get("/projects/1/readers").text
    assert "The figures do not say who reads better" in text
    assert "while the task is open in a tab" in text
    rows = [re.sub(r"<[^>]+>|\s+", " ", row) for row in re.findall(r"<tr>(.*?)</tr>", text, re.DOTALL)]
    assert any(re.search(r"Ada Byron +20 +0 +0 +23 s +14 s to 32 s +too few +2 of 8 +– +\d", row) for row in rows), rows
    order = re.findall(r'<th scope="row">(&lt;|Ada|x&#34;)', text)
    assert order == ["&lt;", "Ada", "x&#34;"] * 3
    assert text.count('<svg class="bars"') == 3
    assert "6 cases to discuss" in text


def test_cases_are_filtered_by_the_address_and_a_form_leads_back_there(web, stores, read):
    cases = "/projects/1/readers/cases"
    assert re.findall(r'data-case="(\d+)"', web.get(cases).text) == ["6", "4", "2", "5", "3", "1"]
    assert re.findall(r'data-case="(\d+)"', web.get(f"{cases}?show=same").text) == ["26", "16"]
    text = web.get(f"{cases}?pair=7-8&said=b").text
    assert text.count("data-case=") == 6
    assert "No case is like that" in web.get(f"{cases}?pair=1-2").text
    assert "No case is like that" in web.get(f"{cases}?page=9").text
    stores.second_readings.check(1, 2, "a", "b", blind=True)
    back = "/readers/cases?said=b&page=1"
    assert "Task 2 was right as" in send(web, "second-look", back, right="2", back=f"/projects/1{back}")
    assert "No task is ticked" in send(web, "second-look", "/second-look", back="/projects/11/readers/cases")
