"""Real images with patients: whole patients are drawn, with what is known of them."""

from __future__ import annotations

import zipfile
from collections import Counter

import pytest

from clinical_backend.lab.benchmarks.patient_images import load_patient_images
from clinical_backend.lab.experiments.datasets import DataError


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("CLINICAL_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)  # a folder of data may lie beside the project
    return tmp_path


def test_of_a_lesion_all_images_are_drawn_with_age_and_sex(data, tmp_path):
    lines = ["lesion_id,image_id,dx,dx_type,age,sex,localization"]
    with zipfile.ZipFile(data / "ham10000.zip", "w") as archive:
        for number in range(60):
            age = "" if number < 3 else f"{20 + number}.0"
            lines.append(f"L{number // 3},I{number},nv,histo,{age},female,back")
            archive.writestr(f"images/I{number}.jpg", f"image {number}")
        archive.writestr("HAM10000_metadata.csv", "\n".join(lines))
    images = load_patient_images("ham10000", 25, cache=tmp_path)
    assert len(images) == 27
    assert set(Counter(one.patient for one in images).values()) == {3}
    everything = load_patient_images("ham10000", 60, cache=tmp_path)
    of_one = [one for one in everything if one.patient == "L0"]
    assert [(one.content, one.fields) for one in of_one] == [
        (f"image {number}".encode(), {"sex": "female"}) for number in range(3)
    ]
    assert {one.fields["age"] for one in everything if one.patient == "L1"} == {23.0, 24.0, 25.0}


def test_of_x_rays_the_name_of_the_file_says_patient_and_cause(data, tmp_path):
    names = (
        "train/PNEUMONIA/person1_bacteria_2.jpeg",
        "train/PNEUMONIA/person1_virus_7.jpeg",
        "test/PNEUMONIA/person1_virus_6.jpeg",
        "train/NORMAL/NORMAL2-IM-0592-0001.jpeg",
        "test/NORMAL/IM-0001-0001.jpeg",
    )
    with zipfile.ZipFile(data / "chest_xray_128.zip", "w") as archive:
        for name in names:
            archive.writestr(name, name)
    images = {one.content.decode(): one for one in load_patient_images("chest_xray_128", 5, cache=tmp_path)}
    assert [(images[name].label, images[name].patient, images[name].fields["cause"]) for name in names] == [
        ("PNEUMONIA", "train person1", "bacteria"),
        ("PNEUMONIA", "train person1", "virus"),
        ("PNEUMONIA", "test person1", "virus"),
        ("NORMAL", "train NORMAL2-IM-0592", "none"),
        ("NORMAL", "test IM-0001", "none"),
    ]


def test_a_set_that_is_not_there_is_named_with_where_it_belongs(data, tmp_path):
    with pytest.raises(DataError, match="ham10000") as raised:
        load_patient_images("ham10000", 5, cache=tmp_path)
    assert "CLINICAL_DATA" in str(raised.value)
