"""Folders of images as Hugging Face's own loader reads them, whatever classes and fields are called."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from io import BytesIO

from PIL import Image

from clinical_backend.handover.delivery import delivered
from clinical_backend.handover.image_folder import ImageFolder
from tests.handover.records import collection, record

LOAD = """
import json, sys
from datasets import load_dataset

loaded = load_dataset("imagefolder", data_dir=sys.argv[1], cache_dir=sys.argv[2]).remove_columns("image")
print(json.dumps([{"split": name, **row} for name, split in loaded.items() for row in split]))
"""


def test_every_split_loads_with_the_labels_as_they_are_though_one_lacks_what_others_have(tmp_path):
    picture = BytesIO()
    Image.new("RGB", (4, 4)).save(picture, "PNG")
    labels = ["None", "NA", "1", "true", "a/b", "A/b", "x, y", "two\nlines", "+ve", "=1+1", "../up", "ü"]
    told = {}
    chosen = collection("imagefolder", "copy", classes=tuple(labels), fields=("age", "site"), findings=True)
    with delivered(tmp_path / "out") as delivery:
        writer = ImageFolder(delivery, chosen)
        for task, label in enumerate(labels * 3):
            split = ("train", "validation", "test")[task // len(labels)]
            full = split == "train" or (split == "validation" and task % 2)
            fields = {"age": 40 if full else None, "site": "7" if split == "train" else "North" if full else None}
            one = record(
                task,
                label,
                split,
                drawn=full,
                weight=1.0 if full else None,
                agreement=0.5 if full else None,
                fields=fields,
            )
            name = f"{split}/{task}.png"
            delivery.write(name, picture.getvalue())
            assert writer.add(one, [name])
            told[task] = (split, label)
        assert not writer.add(record(99, fields=fields), [""])
        writer.finish()
    offline = {"HF_HOME": str(tmp_path / "home"), "HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-W", "ignore", "-c", LOAD, str(tmp_path / "out"), str(tmp_path / "cache")]
    done = subprocess.run(command, capture_output=True, check=False, env=os.environ | offline)
    assert done.returncode == 0, done.stderr.decode()[-1000:]
    rows = json.loads(done.stdout)
    assert {row["task"]: (row["split"], row["label"]) for row in rows} == told
    assert {row["data:age"] for row in rows} == {"40", ""}
    assert all(row[f"finding:{row['label']}"] == 1 for row in rows)
