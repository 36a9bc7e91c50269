"""The page of cases like one."""

import pytest

from clinical_backend.errors import StorageError
from clinical_backend.service.similar import Neighbour, Similar
from clinical_backend.web.pages import similar
from tests.web.pages.test_routes import assert_sound, configuration, filled, rich, stores, wakes, web, workspace

__all__ = ["configuration", "filled", "rich", "stores", "wakes", "web", "workspace"]  # fixtures


@pytest.fixture
def found(monkeypatch):
    """Let three cases be like task 7: the service's own tests compare features."""
    neighbours = tuple(Neighbour(task, 0.9 - task / 1000) for task in (8, 99, 50))
    answer = Similar(neighbours, 20_000, 99_000, has_feature=True)
    monkeypatch.setattr(similar, "find_similar", lambda *_: answer)


def test_cases_are_shown_with_their_labels_and_open_ones_can_be_ticked(web, rich, stores, found):
    stores.page_tags.set(1, [8], -1, by="ada")
    assert "The 3 most alike" not in web.get("/projects/1/similar/7").text  # which is there at once
    text = web.get("/projects/1/similar/7?wait=true").text
    assert_sound(text)
    assert "The 3 most alike" in web.get("/projects/1/fragments/similar/7").text
    assert "The 3 most alike of 20,000 cases, of 99,000 in all" in text
    assert "Similarity 0.89." in text
    assert "Labelled <b>b</b>" in text
    assert '<span class="mark plain">not like this</span>' in text
    assert text.count('type="checkbox" name="task"') == 1
    assert 'name="task" value="8"' in text
    assert "Nobody has answered it" in text


def test_a_case_without_a_feature_says_why(web, stores, filled):
    assert "No round has read its image" in web.get("/projects/1/similar/8?wait=true").text
    stores.images.failed(1, {8: "The image is <empty>."})
    text = web.get("/projects/1/similar/8?wait=true").text
    assert_sound(text)
    assert "The image is &lt;empty&gt;." in text


def test_features_that_cannot_be_read_are_said(web, filled, monkeypatch):
    def fail(*_):
        raise StorageError("The file cannot be read.", "Look at the disk.")

    monkeypatch.setattr(similar, "find_similar", fail)
    assert "The file cannot be read. Look at the disk." in web.get("/projects/1/similar/8?wait=true").text


@pytest.mark.parametrize("path", ["7777", "0", "-1", str(2**63), "9" * 30])
def test_an_unknown_task_is_a_page_that_says_so(web, filled, path):
    answer = web.get(f"/projects/1/similar/{path}")
    assert answer.status_code == 404
    assert_sound(answer.text)


@pytest.mark.parametrize(
    ("given", "led"), [("7", 7), (" #12 ", 12), ("x", 0), ("", 0), ("٣", 0), ("1" * 40, 0), ("<script>", 0)]
)
def test_a_number_leads_to_its_case(web, filled, given, led):
    answer = web.get("/projects/1/similar", params={"task": given})
    assert (answer.status_code, answer.headers["location"]) == (303, f"/projects/1/similar/{led}")


def test_the_project_must_be_served(web, filled):
    assert web.get("/projects/7/similar/1").status_code == 404
    assert web.get("/projects/7/similar?task=1").status_code == 404
    assert web.get("/projects/7/fragments/similar/1").status_code == 404
    assert web.get("/projects/1/fragments/similar/7777").status_code == 404
