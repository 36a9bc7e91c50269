"""Entries of COCO files: one for each image that is there."""

from __future__ import annotations

import json

import pytest

from clinical_backend.handover.coco import Coco
from clinical_backend.handover.delivery import delivered
from tests.handover.records import collection, record


@pytest.mark.parametrize(
    ("images", "names", "written"),
    [
        ("none", [], ["5"]),
        ("reference", ["http://host/0.png", ""], ["http://host/0.png", "5"]),  # the second is no address but the image
        ("copy", ["images/5-0.png", ""], ["images/5-0.png"]),
        ("copy", ["", ""], []),
    ],
)
def test_each_image_has_an_entry_but_for_one_that_could_not_be_copied(tmp_path, images, names, written):
    with delivered(tmp_path / "out") as delivery:
        writer = Coco(delivery, collection("coco", images))
        assert writer.add(record(5, images=2), names) == bool(written)
        writer.finish()
    content = json.loads((tmp_path / "out/annotations/train.json").read_text())
    assert [one["file_name"] for one in content["images"]] == written
    assert [one["image_id"] for one in content["annotations"]] == [one["id"] for one in content["images"]]
