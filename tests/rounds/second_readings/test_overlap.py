"""How second readings of answers about single images are noted."""

import pytest

from clinical_backend.rounds.second_readings.overlap import settle
from clinical_backend.storage.schema import ReadingState, SecondReading
from tests.rounds.fake_label_studio import CONFIG, FakeLabelStudio
from tests.rounds.test_reconcile import AWAY
from tests.small_workspace import picture

EACH = CONFIG.replace('value="$image"', 'valueList="$image"').replace(
    'choice="single"', 'choice="single" perItem="true"'
)
ASKED = (1, 2)


@pytest.fixture
def fake_client():
    studio = FakeLabelStudio({task: picture(task, 9) for task in range(1, 7)})
    studio.config = EACH
    return studio


@pytest.fixture
def asked(workspace, fake_client):
    """Have tasks that a reader answered asked of another one, in a project where red is the rarer class of images."""
    for task in fake_client.uris:
        fake_client.annotate_images(task, {0: "dark", 1: "red" if task in ASKED else "dark"})
    fake_client.overlap = dict.fromkeys(ASKED, 2)
    rows = [
        SecondReading(
            project_id=1,
            task_id=task,
            state=ReadingState.OPEN,
            label="red",
            readings=1,
            asked_at=0.0,
            overlap=1,
            raised_to=2,
        )
        for task in ASKED
    ]
    workspace.stores.second_readings.keep(1, rows)


def read_images(studio, task, names):
    first = studio.answers[task]
    studio.annotate_images(task, names)
    (second,) = studio.answers[task]
    studio.answers[task] = [*first, second.model_copy(update={"id": 2000 + task, "completed_by": 2})]


@pytest.mark.usefixtures("asked")
def test_answers_about_single_images_are_compared_by_the_class_that_decides_in_the_project(workspace, fake_client):
    read_images(fake_client, 1, {0: "dark", 1: "dark"})
    read_images(fake_client, 2, {0: "dark", 1: "red"})
    settle(workspace.project(1), fake_client.project(1))
    rows = workspace.stores.second_readings.all(1)
    assert rows[1].answers == [[1, "red"], [2, "dark"]]
    assert rows[2].answers == [[1, "red"], [2, "red"]]
    assert fake_client.calls.count("annotated_tasks") == 1


@pytest.mark.usefixtures("asked")
def test_who_answers_one_of_the_images_again_is_compared_by_that_alone(workspace, fake_client):
    read_images(fake_client, 1, {0: "dark"})
    settle(workspace.project(1), fake_client.project(1))
    assert workspace.stores.second_readings.all(1)[1].answers == [[1, "red"], [2, "red"]]


@pytest.mark.usefixtures("asked")
def test_a_second_reading_is_noted_at_the_next_look_where_the_other_answers_cannot_be_had(workspace, fake_client):
    read_images(fake_client, 1, {0: "dark", 1: "dark"})
    fake_client.faults["annotated_tasks"] = AWAY
    with pytest.raises(type(AWAY)):
        settle(workspace.project(1), fake_client.project(1))
    assert fake_client.overlap[1] == 1
    assert workspace.stores.second_readings.all(1)[1].state is ReadingState.OPEN
    fake_client.faults.clear()
    settle(workspace.project(1), fake_client.project(1))
    assert workspace.stores.second_readings.all(1)[1].answers == [[1, "red"], [2, "dark"]]


@pytest.mark.usefixtures("asked")
def test_nothing_is_read_of_other_tasks_while_nobody_read_again(workspace, fake_client):
    settle(workspace.project(1), fake_client.project(1))
    assert "annotated_tasks" not in fake_client.calls
