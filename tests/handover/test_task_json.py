"""Tasks for Label Studio's import, which takes all of them or none."""

from __future__ import annotations

import json

from clinical_backend.handover.delivery import delivered
from clinical_backend.handover.task_json import TaskJson
from clinical_backend.labelstudio.labeling.scheme import read_scheme
from tests.handover.records import collection, record

TWO_VIEWS = (
    '<View><Image name="front" value="$front"/><Image name="side" value="$side"/>'
    '<Choices name="diagnosis" toName="front" choice="single"><Choice value="dark"/><Choice value="red"/></Choices>'
    "</View>"
)


def test_a_task_that_lacks_a_copy_is_left_out_and_no_view_shows_the_image_of_another(tmp_path):
    chosen = collection("label-studio", "copy", scheme=read_scheme(TWO_VIEWS))
    with delivered(tmp_path / "out") as delivery:
        writer = TaskJson(delivery, chosen)
        assert not writer.add(record(1, views=["front", "side"]), ["", "images/1-1.png"])
        assert writer.add(record(2, views=["front", "side"]), ["images/2-0.png", "images/2-1.png"])
        writer.finish()
    (task,) = json.loads((tmp_path / "out/tasks.json").read_text())
    assert task["data"] == {"front": "images/2-0.png", "side": "images/2-1.png"}
