"""Rounds of projects whose tasks name files of several pages: TIFF stacks and DICOM files of many frames."""

import base64
import hashlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from clinical_backend.images import sources
from clinical_backend.images.decoders.tiff_page import directories
from clinical_backend.labelstudio.contract import PredictTask
from clinical_backend.rounds.embed import embed_new
from clinical_backend.rounds.reconcile import reconcile
from clinical_backend.service.predict import predict
from clinical_backend.study import page_in
from clinical_backend.web.pages.previews import Previews
from tests.images.decoders.dicoms import dicom
from tests.rounds.coloured_cells import dark_colours
from tests.rounds.fake_label_studio import CONFIG, FakeLabelStudio
from tests.small_workspace import AnotherNetwork, picture, reopened

LISTS = CONFIG.replace('value="$image"', 'valueList="$image"')
SIZE = 30
PAGES = 4


def stack(*colours):
    """Return a TIFF file with a page of each colour as a data: URL."""
    stream = BytesIO()
    first, *others = [Image.new("RGB", (8, 8), colour) for colour in colours]
    first.save(stream, "TIFF", save_all=True, append_images=others)
    return "data:image/tiff;base64," + base64.b64encode(stream.getvalue()).decode()


def content_of(uri):
    return base64.b64decode(uri.partition(",")[2])


@pytest.fixture
def studio():
    """Return thirty tasks of a file with four dark pages each; one page of the first five is red."""
    studio = FakeLabelStudio({})
    dark = dark_colours()
    for task in range(1, SIZE + 1):
        colours = [next(dark) for _ in range(PAGES)]
        if task <= 5:
            colours[task % PAGES] = (250, task, task)
        studio.uris[task] = stack(*colours)
    return studio


@pytest.fixture
def fake_client(studio):
    return studio


@pytest.fixture
def reads(monkeypatch):
    """Return the addresses that were read, one by one."""
    every = []
    read = sources.read_data_url
    monkeypatch.setattr(sources, "read_data_url", lambda uri, **options: every.append(uri) or read(uri, **options))
    return every


def run(workspace):
    workspace.stores.projects.change(1, listed_at=0.0)
    workspace.stores.projects.request_round(1, "a test", delay=0)
    reconcile(workspace.project(1), look=True)
    return workspace.stores.rounds.published(1)


def test_every_page_is_an_image_of_its_task_and_the_one_that_decides_is_named_and_shown(workspace, studio):
    for task in (1, 2):
        studio.annotate(task, "red", exemplar=True)
    studio.annotate(SIZE, "dark")
    published = run(workspace)
    assert published.report.counts.unreadable == 0
    assert workspace.backbone.embedded == PAGES * SIZE
    queue = workspace.stores.rounds.queue(published.id)
    decided = {entry.task_id: (entry.image, entry.images) for entry in queue if entry.task_id <= 5}
    assert decided == {task: (task % PAGES, PAGES) for task in (3, 4, 5)}
    previews = Previews(workspace)
    previews.source = workspace.source
    shown = [np.asarray(Image.open(BytesIO(previews.read(one)))) for one in workspace.stores.studies.all(1)[3]]
    previews.close()
    assert [bool(pixels[4, 4, 0] > 200) for pixels in shown] == [False, False, False, True]
    asked = [PredictTask(id=task, data={"image": studio.uris[task]}) for task in (4, 20)]
    found = predict(workspace.project(1), CONFIG, asked)
    assert [one.result[0]["value"]["choices"] for one in found] == [["red"], ["dark"]]


def test_a_file_is_read_for_itself_and_for_its_pages_and_never_again_and_stays_known(workspace, studio, reads):
    run(workspace)
    once = len(reads)
    assert 2 * SIZE <= once < 3 * SIZE  # of pages that are not asked for in a row, a few may be read anew
    known = workspace.stores.images.all(1)
    run(workspace)
    assert len(reads) == once
    assert workspace.stores.images.all(1) == known
    assert workspace.backbone.embedded == PAGES * SIZE
    other = reopened(workspace, backbone=AnotherNetwork(workspace.settings.model_dir))
    embed_new(other.project(1), lambda done, total: None)
    assert other.backbone.embedded == PAGES * SIZE
    assert SIZE <= len(reads) - once < 2 * SIZE


def test_a_file_of_one_page_stays_one_image_with_the_digest_of_its_bytes(workspace, studio):
    studio.uris = {task: stack((task, 5, 5)) for task in range(1, 9)} | {9: picture(9)}
    run(workspace)
    assert not workspace.stores.studies.any(1)
    for task, image in workspace.stores.images.all(1).items():
        assert image.uri == studio.uris[task]
        assert image.digest == hashlib.sha256(content_of(image.uri)).hexdigest()


def test_files_that_were_read_as_one_image_before_stay_so(workspace, studio, monkeypatch):
    monkeypatch.setattr(type(workspace.decoders), "count", lambda self, data: 1)
    run(workspace)
    monkeypatch.undo()
    studio.uris[SIZE + 1] = stack((1, 2, 3), (3, 2, 1))
    run(workspace)
    assert set(workspace.stores.studies.all(1)) == {SIZE + 1}
    assert workspace.backbone.embedded == SIZE + 2


@pytest.mark.parametrize(
    ("limit", "files", "expected"),
    [(1, 2, [None, None]), (2, 1, [0, 3]), (3, 1, [0, 2, 3]), (3, 2, [None, None]), (4, 2, [0, 3, 0, 2])],
)
def test_what_a_task_may_have_is_shared_by_its_files(workspace, studio, limit, files, expected):
    workspace.settings = workspace.settings.model_copy(update={"images_per_task": limit})
    studio.config = LISTS
    every = [stack((1, 1, 1), (2, 2, 2), (3, 3, 3), (4, 4, 4)), stack((5, 5, 5), (6, 6, 6), (7, 7, 7))]
    studio.uris = {1: ""}
    studio.data = {1: {"image": every[:files]}}
    run(workspace)
    pages = [page_in(image.uri) for image in workspace.stores.studies.all(1).get(1, [])]
    assert [None if page is None else page[1] for page in pages] == (expected if limit > 1 else [])
    assert workspace.stores.images.all(1)[1].digest is not None


def test_files_and_pictures_may_stand_in_one_list_and_one_file_in_two_tasks(workspace, studio):
    studio.config = LISTS
    two, three = stack((1, 1, 1), (2, 2, 2)), stack((3, 3, 3), (4, 4, 4), (5, 5, 5))
    studio.uris = dict.fromkeys((1, 2, 3), "")
    studio.data = {1: {"image": [picture(9), two, three]}, 2: {"image": [three, picture(8)]}, 3: {"image": [two]}}
    run(workspace)
    studies = workspace.stores.studies.all(1)
    assert {task: [(one.position, one.total) for one in images] for task, images in studies.items()} == {
        1: [(place, 6) for place in range(6)],
        2: [(place, 4) for place in range(4)],
        3: [(place, 2) for place in range(2)],
    }
    assert [one.digest for one in studies[1]][1:3] == [one.digest for one in studies[3]]
    assert [one.digest for one in studies[1]][3:] == [one.digest for one in studies[2]][:3]
    assert all(image.digest for image in workspace.stores.images.all(1).values())
    before = workspace.stores.images.all(1)
    run(workspace)
    assert workspace.stores.images.all(1) == before


def test_the_frames_of_a_dicom_file_are_images_of_its_task(workspace, studio):
    values = np.full((5, 8, 8), 60, dtype=np.uint8) + np.arange(5, dtype=np.uint8)[:, None, None]
    values[:, 0, 0], values[:, 7, 7] = 0, 255
    content = dicom(values, NumberOfFrames=5, WindowCenter="128", WindowWidth="255")
    studio.uris = {1: "data:application/dicom;base64," + base64.b64encode(content).decode(), 2: picture(3)}
    run(workspace)
    images = workspace.stores.studies.all(1)
    assert set(images) == {1}
    assert len(workspace.features.look_up([one.digest for one in images[1]]).digests) == 5


def test_a_file_that_is_damaged_beyond_its_first_pages_says_so_of_these_alone(workspace, studio):
    broken = bytearray(content_of(stack((1, 1, 1), (2, 2, 2), (3, 3, 3))))
    _, second, _ = [offset for _, offset in directories(bytes(broken))]
    place = broken.index((273).to_bytes(2, "little"), second) + 8  # where its pixels begin
    broken[place : place + 4] = (2**31).to_bytes(4, "little")
    studio.uris = {1: "data:image/tiff;base64," + base64.b64encode(bytes(broken)).decode(), 2: picture(3)}
    run(workspace)
    images = workspace.stores.studies.all(1)[1]
    assert [image.digest is not None for image in images] == [True, False, True]
    assert workspace.stores.images.all(1)[1].digest is not None


def test_each_image_keeps_its_own_content_where_those_before_it_have_pages(workspace, studio):
    studio.config = LISTS
    studio.uris = {1: ""}
    studio.data = {1: {"image": [stack((3, 3, 3), (4, 4, 4), (5, 5, 5)), picture(8), picture(9)]}}
    run(workspace)
    digests = [one.digest for one in workspace.stores.studies.all(1)[1]]
    assert digests[3:] == [hashlib.sha256(content_of(picture(number))).hexdigest() for number in (8, 9)]
    assert len(set(digests)) == 5


def test_a_file_of_several_pages_that_every_task_shows_is_read_for_all_of_them_in_one_round(workspace, studio, reads):
    studio.config = LISTS
    reference = stack((3, 3, 3), (4, 4, 4))
    studio.uris = dict.fromkeys(range(1, 7), "")
    studio.data = {task: {"image": [reference, picture(task)]} for task in studio.uris}
    published = run(workspace)
    assert len(workspace.stores.rounds.queue(published.id)) == 6
    assert {len(images) for images in workspace.stores.studies.all(1).values()} == {3}
    assert reads.count(reference) <= 3


def test_an_address_in_a_task_like_those_of_pages_and_studies_stops_nothing(workspace, studio):
    studio.uris = {1: "page:0/1:" * 2000, 2: picture(1), 3: "study:" + "0" * 64, 4: "page:0/2:" + picture(3)}
    run(workspace)
    images = workspace.stores.images.all(1)
    assert [task for task, image in images.items() if image.digest is None] == [1, 3, 4]
    assert all("does not hold an address" in images[task].problem for task in (1, 3, 4))
    assert not workspace.stores.studies.any(1)


def test_a_file_none_of_whose_pages_can_be_read_is_one_image_that_says_why(workspace, studio):
    cut = dicom(np.zeros((5, 8, 8), dtype=np.uint8), NumberOfFrames=9)
    studio.uris = {1: "data:application/dicom;base64," + base64.b64encode(cut).decode(), 2: picture(3)}
    run(workspace)
    assert not workspace.stores.studies.any(1)
    assert "damaged" in workspace.stores.images.all(1)[1].problem


def test_a_file_that_the_address_itself_holds_stays_one_image_where_it_is_long(workspace, studio):
    noise = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    stream = BytesIO()
    first, second = map(Image.fromarray, noise)
    first.save(stream, "TIFF", save_all=True, append_images=[second])
    studio.uris = {1: "data:image/tiff;base64," + base64.b64encode(stream.getvalue()).decode(), 2: picture(3)}
    run(workspace)
    assert not workspace.stores.studies.any(1)
    assert workspace.stores.images.all(1)[1].digest == hashlib.sha256(stream.getvalue()).hexdigest()


def test_one_file_of_several_pages_among_pictures_is_said_to_change_what_is_learnt_of_all_and_can_be_undone(
    workspace, studio
):
    paged = stack((1, 2, 3), (3, 2, 1))
    studio.uris = {task: picture(task) for task in range(1, 9)} | {9: paged}
    note = "Of 9 tasks 1 shows a file with several pages"
    (said,) = [one for one in run(workspace).report.notes if one.startswith(note)]
    assert "fine-tuned" in said
    assert "adapted" not in said  # to studies a network is adapted as to single images
    known = workspace.stores.images.all(1)
    workspace.settings = workspace.settings.model_copy(update={"images_per_task": 1})
    assert not any("several pages" in one for one in run(workspace).report.notes)
    assert not workspace.stores.studies.any(1)
    images = workspace.stores.images.all(1)
    assert images.pop(9).digest == hashlib.sha256(content_of(paged)).hexdigest()
    assert images == {task: image for task, image in known.items() if task != 9}


def test_only_tasks_of_which_images_are_left_out_are_said_to_show_too_many(workspace, studio):
    studio.config = LISTS
    studio.uris = {1: "", 2: "", 3: ""}
    two = ["", picture(1), None, picture(2), picture(2)]
    studio.data = {
        1: {"image": two},
        2: {"image": [picture(3), picture(4)]},
        3: {"image": [stack((1, 1, 1), (2, 2, 2))]},
    }
    workspace.settings = workspace.settings.model_copy(update={"images_per_task": 4})
    assert not any("more than" in note for note in run(workspace).report.notes)
    studio.data[2]["image"] = [picture(number) for number in range(6)]
    studio.data[3]["image"] = [stack(*[(number, 1, 1) for number in range(6)])]
    assert any(note.startswith("2 tasks show more than 4 images") for note in run(workspace).report.notes)
