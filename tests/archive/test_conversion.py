"""Tasks that point to DICOM or TIFF files get pictures; all else in them stays."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from clinical_backend.archive.conversion import Converter
from clinical_backend.archive.pseudonyms import Pseudonyms
from clinical_backend.archive.rendering import PictureMaker
from clinical_backend.errors import ImageError, LabelingConfigError, LabelStudioRefusedError
from clinical_backend.labelstudio.labeling.scheme import read_scheme
from clinical_backend.labelstudio.resources import Task
from tests.archive.conftest import NUMBER, content, dicom

CONFIG = (
    '<View><Image name="image" {}/><Choices name="c" toName="image"><Choice value="a"/><Choice value="b"/></Choices>'
    "</View>"
)


def tiff():
    made = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8)).save(made, "TIFF")
    return made.getvalue()


class Studio:
    """Holds tasks and the files that they point to, and keeps what is put."""

    def __init__(self, data, files, deleted):
        self.data = dict(enumerate(data, 1))
        self.files, self.kept, self.deleted = files, {}, deleted

    def tasks(self, _):
        return [Task(id=number, data=data) for number, data in self.data.items()]

    def update_task(self, task_id, *, data):
        if task_id in self.deleted:
            raise LabelStudioRefusedError("Not found.", "Check the id.", status=404)
        self.data[task_id] = data

    def fetch(self, address, _):
        if address not in self.files:
            raise ImageError("It is not there.", "Put it back.")
        return self.files[address]

    def put(self, pictures):
        self.kept |= pictures
        return {name: f"/data/upload/1/{name}" for name in pictures}


@pytest.fixture(scope="module")
def maker():
    made = PictureMaker(1)
    yield made
    made.close()


@pytest.fixture
def convert(maker, tmp_path):
    """Return a function that converts tasks as a labeling config shows them, and returns what was done and is there."""

    def run(image, data, files, deleted=(), limit=32):
        studio = Studio(data, files, deleted)
        converter = Converter(studio, studio, studio, maker, Pseudonyms(tmp_path), limit=limit, workers=1)
        done = converter.run(1, read_scheme(CONFIG.format(image)).every_view, lambda *_: None, run.passed_over)
        return done, studio

    run.passed_over = []
    return run


def test_an_address_inside_other_data_is_changed_and_the_rest_stays(convert):
    data = [{"case": {"image": "/f/1.dcm", "site": "A"}, "note": "/f/1.dcm", "age": "old"}]
    done, studio = convert('value="$case.image"', data, {"/f/1.dcm": content(dicom())})
    (changed,) = studio.data.values()
    assert changed["case"]["image"].startswith("/data/upload/1/")
    assert (changed["case"]["site"], changed["note"], changed["age"]) == ("A", "/f/1.dcm", "old")
    assert changed["original"] == ["/f/1.dcm"]
    assert changed["modality"] == "CT"
    assert NUMBER not in str(changed)
    assert (done.tasks, done.pictures) == (1, 1)


def test_in_a_list_only_what_no_browser_draws_is_changed_and_what_cannot_be_read_stays(convert):
    data = [{"images": ["/f/1.dcm", "/f/2.png", "/f/3.tif", "/f/4.dcm"]}]
    files = {"/f/1.dcm": content(dicom()), "/f/3.tif": tiff()}
    _, studio = convert('valueList="$images"', data, files)
    images = studio.data[1]["images"]
    assert [address in data[0]["images"] for address in images] == [False, True, False, True]
    assert [(one.name, one.reason) for one in convert.passed_over] == [("task 1", "It is not there. Put it back.")]
    assert studio.data[1]["original"] == ["/f/1.dcm", "/f/3.tif"]


def test_a_file_without_ending_that_a_browser_draws_is_left_as_it_is(convert):
    png = io.BytesIO()
    Image.new("RGB", (4, 4)).save(png, "PNG")
    data = [{"image": "/storage/7"}]
    done, studio = convert('value="$image"', data, {"/storage/7": png.getvalue()})
    assert (studio.data[1], done.tasks) == (data[0], 0)


def test_a_task_without_an_address_is_passed_by(convert):
    done, studio = convert('value="$image"', [{"text": "none"}, {"image": 7}], {})
    assert (done.tasks, convert.passed_over) == (0, [])
    assert studio.data[2] == {"image": 7}


@pytest.mark.parametrize("before", ["scan 7", 7, None, {"scan": 7}])
def test_a_field_of_the_project_that_is_called_as_ours_keeps_what_it_says(convert, before):
    data = [{"image": "/f/1.dcm", "original": before, "patient": "P1", "modality": "mine"}]
    _, studio = convert('value="$image"', data, {"/f/1.dcm": content(dicom())})
    changed = studio.data[1]
    assert changed["original"] == [before, "/f/1.dcm"]
    assert (changed["patient"], changed["modality"]) == ("P1", "mine")


@pytest.mark.parametrize("image", ['value="https://host/$name"', 'value="$original"', 'valueList="$original.images"'])
def test_addresses_that_stand_in_no_field_to_be_changed_are_refused_before_anything_is_fetched(convert, image):
    with pytest.raises(LabelingConfigError, match="no conversion can change"):
        convert(image, [{"name": "1.dcm", "original": "/f/1.dcm"}], {})


def test_what_an_import_leaves_out_is_not_shown_by_a_conversion_either(convert):
    files = {
        "/f/1.dcm": content(dicom(BurnedInAnnotation="YES")),
        "/f/2.dcm": content(dicom(ConversionType="WSD")),
        "/f/3.dcm": content(dicom(BurnedInAnnotation="YES", SOPInstanceUID=None))[132:],
    }
    _, studio = convert('valueList="$images"', [{"images": list(files)}], files)
    assert studio.data[1] == {"images": list(files)}
    assert studio.kept == {}
    assert [one.reason.partition(":")[0] for one in convert.passed_over] == ["It is left out"] * 3


def cine(frames=5):
    levels = np.arange(frames, dtype=np.uint16)[:, None, None] * np.ones((8, 8), np.uint16) * 10
    return content(dicom(levels, WindowCenter=128, WindowWidth=256))


def levels_of(studio, addresses):
    return [int(np.asarray(Image.open(io.BytesIO(studio.kept[one.rpartition("/")[2]])))[0, 0]) for one in addresses]


def stack():
    made = io.BytesIO()
    first, *others = (Image.new("L", (8, 8), level) for level in (7, 8, 9))
    first.save(made, "TIFF", save_all=True, append_images=others)
    return made.getvalue()


@pytest.mark.parametrize(
    ("file", "levels"), [(cine(), [0, 10, 20, 30, 40]), (stack(), [7, 8, 9])], ids=["frames", "pages"]
)
def test_a_list_of_one_file_shows_all_of_its_images(convert, file, levels):
    done, studio = convert('valueList="$images"', [{"images": ["/f/1"]}], {"/f/1": file})
    assert levels_of(studio, studio.data[1]["images"]) == levels
    assert (studio.data[1]["original"], done.pictures) == (["/f/1"], len(levels))
    assert "images_in_all" not in studio.data[1]


def test_of_more_images_than_a_task_may_show_evenly_spaced_ones_are_taken_and_their_number_is_told(convert):
    _, studio = convert('valueList="$images"', [{"images": ["/f/1.dcm"]}], {"/f/1.dcm": cine()}, limit=3)
    assert levels_of(studio, studio.data[1]["images"]) == [0, 20, 40]
    assert studio.data[1]["images_in_all"] == 5


@pytest.mark.parametrize("image", ['value="$images"', 'valueList="$images"'])
def test_where_answers_name_images_by_their_places_a_file_is_one_of_them(convert, image):
    listed = "List" in image
    addresses = ["/f/1.dcm", "/f/2.png"]
    _, studio = convert(image, [{"images": addresses if listed else "/f/1.dcm"}], {"/f/1.dcm": cine()})
    shown = studio.data[1]["images"]
    assert levels_of(studio, shown[:1] if listed else [shown]) == [20]
    assert len(shown) == 2 or not listed
    assert studio.data[1]["images_in_all"] == (6 if listed else 5)


def test_a_task_that_is_deleted_meanwhile_is_passed_over_and_the_others_are_changed(convert):
    files = {"/f/1.dcm": content(dicom()), "/f/2.dcm": content(dicom())}
    done, studio = convert('value="$image"', [{"image": one} for one in files], files, deleted={1})
    assert [(one.name, one.reason) for one in convert.passed_over] == [("task 1", "It is not there any more.")]
    assert (done.tasks, "original" in studio.data[2]) == (1, True)
