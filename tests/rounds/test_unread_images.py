import pytest

from clinical_backend.errors import ImageError
from clinical_backend.rounds.embed import embed_new
from clinical_backend.rounds.inputs import inputs_of
from clinical_backend.rounds.sync import synchronise
from clinical_backend.rounds.unread_images import UnreadImages, find_unread, notes_on_images
from tests.rounds.fake_label_studio import FakeLabelStudio
from tests.small_workspace import picture

READ = UnreadImages(unreadable=0, waiting=0, held_back=0, goes_on=False)
DAMAGED = "data:image/png;base64,AAAA"


@pytest.fixture
def fake_client():
    return FakeLabelStudio({1: picture(10), 2: DAMAGED, 3: picture(30), 4: picture(40)})


def unread(workspace):
    project = workspace.project(1)
    snapshot = synchronise(project)
    return find_unread(project, snapshot, inputs_of(project, snapshot, project.frozen))


def test_one_image_and_several_are_told_in_words_of_their_number():
    assert notes_on_images(None, READ, 1, 1) == [
        "1 image is an exact copy of an answered or queued one, and is not queued.",
        "1 image looks like an answered or queued one that was saved again, and comes behind all others.",
    ]
    assert [note.split(",")[0] for note in notes_on_images(None, READ, 2, 3)] == [
        "2 images are exact copies of answered or queued ones",
        "3 images look like answered or queued ones that were saved again",
    ]


def test_images_are_told_apart_by_why_they_are_not_read(workspace, fake_client):
    synchronise(workspace.project(1))
    embed_new(workspace.project(1), lambda *_: None)
    assert unread(workspace) == UnreadImages(unreadable=1, waiting=0, held_back=0, goes_on=False)
    fake_client.uris |= {5: picture(50), 6: picture(60)}
    assert unread(workspace) == UnreadImages(unreadable=1, waiting=2, held_back=0, goes_on=True)
    workspace.stores.images.left(1, {5: "Its host is slow.", 6: "Its host is slow."})
    assert unread(workspace) == UnreadImages(unreadable=1, waiting=2, held_back=2, goes_on=False)


def test_a_round_without_a_single_image_is_refused_with_the_reason_and_the_cure(workspace, fake_client):
    fake_client.uris = {2: DAMAGED}
    synchronise(workspace.project(1))
    embed_new(workspace.project(1), lambda *_: None)
    with pytest.raises(ImageError, match=r"None of the project's images can be read\. .+ Run `clinical doctor`"):
        unread(workspace)
