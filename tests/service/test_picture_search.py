"""The cases most like a picture that is given: of a project whose features are mean colours."""

import base64
import hashlib
from io import BytesIO

import pytest
from PIL import Image

from clinical_backend.errors import ImageError
from clinical_backend.rounds.reconcile import reconcile
from clinical_backend.service import picture_search
from clinical_backend.service.picture_search import find_like_picture
from tests.service.test_similar import RED, fake_client, project, studio

__all__ = ["fake_client", "project", "studio"]  # fixtures


def image(*colour, kind="PNG"):
    stream = BytesIO()
    Image.new("RGB", (24, 24), colour).save(stream, kind)
    return stream.getvalue()


def round_of(project):
    project.stores.projects.change(1, listed_at=0.0)
    project.stores.projects.request_round(1, "a test", delay=0)
    reconcile(project, look=True)


def kept(project):
    """Return the contents of all files, but for what SQLite keeps of its own."""
    files = [file for file in project.workspace.settings.model_dir.rglob("*") if file.is_file()]
    return {file: hashlib.sha256(file.read_bytes()).digest() for file in files if ".sqlite3" not in file.name}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_the_most_alike_come_first_and_nothing_of_the_picture_is_kept(project, kind):
    before = kept(project)
    found = find_like_picture(project, image(255, 100, 60, kind=kind), 5)
    assert {one.task_id for one in found.neighbours[:3]} == set(RED)
    assert len(found.neighbours) == 5
    assert (found.compared, found.known, found.has_feature) == (40, 40, True)
    assert kept(project) == before
    assert project.stores.outside_exemplars.all(1) == []


def test_a_case_of_the_project_itself_is_found_without_the_network(project, studio):
    embedded = project.workspace.backbone.embedded
    content = base64.b64decode(studio.uris[RED[0]].partition(",")[2])
    found = find_like_picture(project, content, 1)
    assert (found.neighbours[0].task_id, project.workspace.backbone.embedded) == (RED[0], embedded)
    assert found.neighbours[0].similarity == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("content", [b"", b"no image", image(1, 2, 3)[:40]])
def test_what_is_no_image_is_refused_with_its_reason(project, content):
    with pytest.raises(ImageError):
        find_like_picture(project, content, 5)


def test_a_huge_file_is_refused_before_it_is_decoded(project, monkeypatch):
    monkeypatch.setattr(picture_search, "FILE_LIMIT", 10)
    monkeypatch.setattr(project.workspace, "decode", None)
    with pytest.raises(ImageError, match="more than"):
        find_like_picture(project, image(1, 2, 3), 5)


def test_before_a_round_has_read_an_image_no_network_is_asked(workspace):
    workspace.backbone = None
    found = find_like_picture(workspace.project(1), image(1, 2, 3), 5)
    assert (found.neighbours, found.known, found.has_feature) == ((), 0, True)


def test_the_test_set_is_left_out(project, monkeypatch):
    monkeypatch.setattr(project.stores.test_sets, "ids", lambda _: frozenset(RED))
    found = find_like_picture(project, image(255, 100, 60), 40)
    assert {one.task_id for one in found.neighbours}.isdisjoint(RED)
    assert found.known == 37


def test_tasks_of_several_images_are_compared_as_a_whole(project, studio):
    studio.config = studio.config.replace('value="$image"', 'valueList="$image"')
    studio.data = {task: {"image": [uri, uri]} for task, uri in studio.uris.items()}
    studio.uris = dict.fromkeys(studio.uris, "")
    round_of(project)
    found = find_like_picture(project, image(240, 100, 60), 3)
    assert {one.task_id for one in found.neighbours} == set(RED)
