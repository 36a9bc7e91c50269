"""Labelled sets in every form that people have them in."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clinical_backend.lab.experiments.datasets import DataError, load_images, medmnist_archive
from clinical_backend.multilabel import pack


def folder_of_classes(root: Path, *splits: str) -> Path:
    for split in splits or ("",):
        for shade, name in enumerate(("healthy", "ill")):
            (root / split / name).mkdir(parents=True)
            for number in range(10):
                Image.new("L", (6, 6), 40 * shade + number).save(root / split / name / f"{number}.png")
    return root


def test_a_folder_per_class_is_split_in_each_class(tmp_path: Path):
    data = load_images(str(folder_of_classes(tmp_path / "scans")), cache=tmp_path)

    assert data.name == "scans"
    assert data.classes == ("healthy", "ill")
    assert len(data) == 20
    assert np.bincount(data.labels[data.held_out]).tolist() == [3, 3]


def test_train_and_test_folders_are_the_split(tmp_path: Path):
    data = load_images(str(folder_of_classes(tmp_path / "scans", "train", "test")), cache=tmp_path)

    assert len(data) == 40
    assert np.bincount(data.labels[data.held_out]).tolist() == [10, 10]


def test_a_zip_archive_reads_as_its_folder(tmp_path: Path):
    root = folder_of_classes(tmp_path / "scans", "train", "test")
    with zipfile.ZipFile(tmp_path / "scans.zip", "w") as archive:
        for file in root.rglob("*.png"):
            archive.write(file, file.relative_to(root))

    data = load_images(str(tmp_path / "scans.zip"), cache=tmp_path)

    plain = load_images(str(root), cache=tmp_path)
    assert data.labels.tolist() == plain.labels.tolist()
    assert data.images == plain.images


def test_of_each_lesion_of_ham10000_one_image_is_taken(tmp_path: Path):
    folder_of_classes(tmp_path / "scans")
    rows = [f"L{number // 2},{number},{'df' if number < 4 else 'nv'}" for number in reversed(range(10))]
    with zipfile.ZipFile(tmp_path / "ham.zip", "w") as archive:
        for number in range(10):
            archive.write(tmp_path / "scans" / "ill" / f"{number}.png", f"images/{number}.jpg")
        archive.writestr("HAM10000_metadata.csv", "\n".join(["lesion_id,image_id,dx", *rows]))

    data = load_images(str(tmp_path / "ham.zip"), cache=tmp_path)

    assert [data.classes[code] for code in data.labels] == ["df", "df", "nv", "nv", "nv"]
    assert list(data.images) == [
        (tmp_path / "scans" / "ill" / f"{number}.png").read_bytes() for number in range(0, 10, 2)
    ]


def test_a_table_names_images_labels_and_the_split(tmp_path: Path):
    folder_of_classes(tmp_path)
    (tmp_path / "scans.csv").write_text(
        "image,label,split\nhealthy/1.png,no finding,train\nill/1.png,rare finding,train\nill/2.png,rare finding,test\n"
    )

    data = load_images(str(tmp_path / "scans.csv"), cache=tmp_path)

    assert data.classes == ("no finding", "rare finding")
    assert data.labels.tolist() == [0, 1, 1]
    assert data.held_out.tolist() == [False, False, True]


def test_a_table_with_a_column_for_each_finding_holds_several_of_an_image(tmp_path: Path):
    folder_of_classes(tmp_path)
    (tmp_path / "films.csv").write_text(
        "image,effusion,nodule,split\nhealthy/1.png,0,0,train\nill/1.png,1,1,train\nill/2.png,0,1.0,test\n"
    )

    data = load_images(str(tmp_path / "films.csv"), cache=tmp_path)

    assert data.classes == ("effusion", "nodule")
    assert [data.label(index) for index in range(3)] == [pack([]), pack(["effusion", "nodule"]), pack(["nodule"])]
    assert data.members("nodule").tolist() == [False, True, True]
    assert data.held_out.tolist() == [False, False, True]


def test_mosaics_are_named_by_their_rare_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    generator = np.random.default_rng(0)
    codes = np.repeat(np.arange(8), 12)
    arrays = {
        f"{split}_{kind}": values
        for split in ("train", "test")
        for kind, values in (
            ("images", generator.integers(0, 255, (96, 6, 6, 3), dtype=np.uint8)),
            ("labels", codes[:, None]),
        )
    }
    np.savez(tmp_path / "bloodmnist.npz", **arrays)
    monkeypatch.setenv("CLINICAL_DATA", str(tmp_path))

    data = load_images("mosaics:basophil,monocyte", cache=tmp_path)

    assert data.images[0].shape == (12, 12, 3)
    assert data.shows.shape == (len(data), 8)
    assert 1 <= data.shows.sum(axis=1).min() <= data.shows.sum(axis=1).max() <= 4
    for name in ("basophil", "monocyte"):
        assert 0.02 < data.members(name).mean() < 0.03
    with pytest.raises(DataError, match="no class 'unheard'"):
        load_images("mosaics:unheard", cache=tmp_path)


def test_an_archive_of_medmnist_keeps_its_test_split_and_names(tmp_path: Path):
    arrays = {f"{split}_images": np.zeros((4, 28, 28), np.uint8) for split in ("train", "val", "test")} | {
        f"{split}_labels": np.array([[0], [1], [1], [1]]) for split in ("train", "val", "test")
    }
    np.savez(tmp_path / "breastmnist.npz", **arrays)

    data = load_images(str(tmp_path / "breastmnist.npz"), cache=tmp_path)

    assert data.classes == ("benign", "malignant")
    assert data.labels.tolist() == [1, 0, 0, 0] * 3
    assert data.held_out.sum() == 4
    picture = data.picture(0)
    assert isinstance(picture, Image.Image)
    assert picture.mode == "RGB"


def test_what_is_not_there_is_named_with_the_cure(tmp_path: Path):
    with pytest.raises(DataError, match=r"no labelled set 'nothing'.*CLINICAL_DATA"):
        load_images("nothing", cache=tmp_path)


@pytest.mark.parametrize("name", ["broken.npz", "broken.zip", "broken.csv"])
def test_a_damaged_set_is_refused(tmp_path: Path, name: str):
    (tmp_path / name).write_bytes(b"not,what\nit,says\n")

    with pytest.raises(DataError, match=f"{name} cannot be read"):
        load_images(str(tmp_path / name), cache=tmp_path)


def test_one_class_is_no_labelled_set(tmp_path: Path):
    (tmp_path / "scans" / "ill").mkdir(parents=True)
    Image.new("L", (6, 6)).save(tmp_path / "scans" / "ill" / "1.png")

    with pytest.raises(DataError, match="fewer than two classes"):
        load_images(str(tmp_path / "scans"), cache=tmp_path)


def test_a_data_folder_without_the_set_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CLINICAL_DATA", str(tmp_path))

    with pytest.raises(DataError, match="CLINICAL_DATA names a folder without bloodmnist"):
        medmnist_archive("bloodmnist", tmp_path)
